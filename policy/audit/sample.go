package audit

import (
	"encoding/json"
	"time"
)

// KindDropped is the kind of the event that tells how many noted events found no
// room in the queue.
const KindDropped = "audit.dropped"

// maxWindows bounds what is counted at once. Whatever comes beyond it is counted
// together, by kind: nobody can fill memory or log with names of their own.
const maxWindows = 10_000

// A sampleKey is what makes two events repetitions of each other.
type sampleKey struct{ tenant, kind, subject, who string }

// A window counts repetitions.
type window struct {
	first Event
	more  int64
	until time.Time
}

// Sampled notes an event that somebody may cause at will. The first of its
// tenant, kind, subject and who is noted at once; further ones within the time
// of a sample are counted, and one event at its end says how many.
func (j *Journal) Sampled(who string, e Event) {
	if j == nil {
		return
	}
	now := j.now()
	j.mu.Lock()
	defer j.mu.Unlock()
	key := sampleKey{e.Tenant, e.Kind, e.Subject, who}
	w := j.windows[key]
	if w == nil && len(j.windows) >= maxWindows {
		key = sampleKey{tenant: e.Tenant, kind: e.Kind}
		e.Subject, e.Actors, e.Payload, e.TraceID = "others", nil, nil, ""
		w = j.windows[key]
	}
	if w != nil && now.Before(w.until) {
		w.more++
		return
	}
	if w != nil {
		j.close(w)
	}
	if j.windows == nil {
		j.windows = map[sampleKey]*window{}
	}
	sample := j.Sample
	if sample <= 0 {
		sample = defaultSample
	}
	j.windows[key] = &window{first: e, until: now.Add(sample)}
	j.note(e)
}

// expire ends the windows whose time is over, or all.
func (j *Journal) expire(all bool) {
	if len(j.windows) == 0 {
		return
	}
	now := j.now()
	for key, w := range j.windows {
		if all || !now.Before(w.until) {
			j.close(w)
			delete(j.windows, key)
		}
	}
}

// close notes how many repetitions there were. What they had of their own beside
// the key (a trace) is not known of them.
func (j *Journal) close(w *window) {
	if w.more == 0 {
		return
	}
	e := w.first
	e.ID, e.TraceID = "", ""
	details := map[string]any{}
	if len(e.Payload) > 0 && json.Unmarshal(e.Payload, &details) != nil {
		details = map[string]any{}
	}
	details["count"] = w.more
	e.Payload = payload(details)
	j.note(e)
}

// payload encodes details that were made here: they can be encoded.
func payload(details map[string]any) json.RawMessage {
	raw, err := json.Marshal(details)
	if err != nil {
		return nil
	}
	return raw
}

func (j *Journal) now() time.Time {
	if j.Now != nil {
		return j.Now()
	}
	return time.Now()
}
