package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/countersign/countersign/policy/audit"
)

// Intents keep, in a file of the data folder, what is about to be written to a
// source and is not in the audit log yet: one appended line costs microseconds
// where a commit costs a wait for the disk. A line outlives the process, however
// it ends; it does not outlive the power of this machine.
//
// A file belongs to one process: it holds its lock. What another left behind is
// appended to the log when the next one opens its Intents.
type Intents struct {
	mu   sync.Mutex
	half [2]half // written in turn, so that one can be emptied
	now  int
	done func() error
}

// A half is one of two files.
type half struct {
	f    *os.File
	size int64
	open int // begun and not ended
}

var _ audit.Intents = (*Intents)(nil)

const (
	intentsName = "direct-writes"
	// maxIntents bounds the processes that share a data folder.
	maxIntents = 64
	// halfSize is when the other file is begun.
	halfSize = 1 << 20
	// maxIntent bounds a line that is read again.
	maxIntent = 16 << 20
)

// OpenIntents opens the intents of a data folder, and appends to the log what
// processes that ended left in it. It answers how many events those were.
func OpenIntents(ctx context.Context, dataDir string, log audit.Appender) (in *Intents, recovered int, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, 0, err
	}
	for i := range maxIntents {
		base := filepath.Join(dataDir, fmt.Sprintf("%s-%d", intentsName, i))
		if in != nil && !exists(base+".lock") {
			break
		}
		unlock, err := lockFile(base + ".lock")
		if errors.Is(err, ErrInUse) {
			continue
		}
		if err != nil {
			return nil, recovered, errors.Join(err, in.Close())
		}
		n, err := recoverIntents(ctx, base, log)
		recovered += n
		if err == nil && in == nil {
			in, err = openIntents(base, unlock)
		} else {
			err = errors.Join(err, unlock())
		}
		if err != nil {
			return nil, recovered, errors.Join(err, in.Close())
		}
	}
	if in == nil {
		return nil, recovered, fmt.Errorf("more than %d servers use the data folder %s", maxIntents, dataDir)
	}
	return in, recovered, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func halves(base string) [2]string { return [2]string{base + ".a", base + ".b"} }

func openIntents(base string, unlock func() error) (*Intents, error) {
	in := &Intents{done: unlock}
	for i, name := range halves(base) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		in.half[i].f = f
	}
	return in, nil
}

// recoverIntents appends what two files hold to the log. Events that were
// committed are in the log under the same ids, and left as they are.
func recoverIntents(ctx context.Context, base string, log audit.Appender) (int, error) {
	total := 0
	for _, name := range halves(base) {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return total, err
		}
		var events []audit.Event
		lines := bufio.NewScanner(bytes.NewReader(data))
		lines.Buffer(nil, maxIntent)
		for lines.Scan() {
			var one []audit.Event
			// A line that was cut was never begun: nothing was sent before it was
			// whole.
			if json.Unmarshal(lines.Bytes(), &one) == nil {
				events = append(events, one...)
			}
		}
		if err := lines.Err(); err != nil {
			return total, err
		}
		if len(events) > 0 {
			if err := log.AppendAll(ctx, events); err != nil {
				return total, err
			}
		}
		total += len(events)
		if err := os.Truncate(name, 0); err != nil {
			return total, err
		}
	}
	return total, nil
}

// Begin implements audit.Intents.
func (in *Intents) Begin(events []audit.Event) (end func(), err error) {
	line, err := json.Marshal(events)
	if err != nil {
		return nil, err
	}
	line = append(line, '\n')
	in.mu.Lock()
	defer in.mu.Unlock()
	h := &in.half[in.now]
	if other := &in.half[1-in.now]; h.size > halfSize && other.open == 0 {
		if err := other.f.Truncate(0); err != nil {
			return nil, err
		}
		other.size, in.now, h = 0, 1-in.now, other
	}
	if _, err := h.f.Write(line); err != nil {
		// Half a line would spoil the next one.
		return nil, errors.Join(err, h.f.Truncate(h.size))
	}
	h.size += int64(len(line))
	h.open++
	return sync.OnceFunc(func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		h.open--
	}), nil
}

// Close ends the intents. What was not ended stays for the next start; where
// everything was, nothing does.
func (in *Intents) Close() error {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	var errs []error
	for i := range in.half {
		h := &in.half[i]
		if h.f == nil {
			continue
		}
		if h.open == 0 {
			errs = append(errs, h.f.Truncate(0))
		}
		errs = append(errs, h.f.Close())
		h.f = nil
	}
	if in.done != nil {
		errs = append(errs, in.done())
		in.done = nil
	}
	return errors.Join(errs...)
}
