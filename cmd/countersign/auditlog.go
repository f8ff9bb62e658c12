package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/store"
)

type auditCmd struct {
	Verify auditVerify `cmd:"" help:"Prove that the sealed part of the log is what was sealed, and that its checkpoints are signed."`
	Export auditExport `cmd:"" help:"Print the log as JSON lines, with its checkpoints."`
}

// auditLog opens the store to read, also beside a running server.
type auditLog struct {
	Config string `help:"The configuration, for a store or secret that it names." type:"path"`
	Data   string `help:"Folder of the store." default:"data" type:"path"`
}

// open gives the store and, where the secret is there, the keys that prove its
// checkpoints.
func (a *auditLog) open(e *env) (*store.Store, []audit.PublicKey, error) {
	var cfg *config.Config
	if a.Config != "" {
		var problems []config.Problem
		if cfg, problems = config.Load(a.Config); printProblems(e.stderr, problems) {
			return nil, nil, errSilent
		}
	} else if absent(a.Data) {
		return nil, nil, fmt.Errorf("there is no store in %s", a.Data)
	}
	var keys *store.Keyring
	if cfg != nil && len(cfg.Secret) > 0 || !absent(filepath.Join(a.Data, store.SecretFile)) {
		if cfg == nil {
			cfg = &config.Config{}
		}
		var err error
		if keys, err = openKeyring(cfg, a.Data); err != nil {
			return nil, nil, err
		}
	}
	s, err := openStore(e.ctx, cfg, a.Data, store.ReadOnly, nil)
	if err != nil || keys == nil {
		return s, nil, err
	}
	public, err := checkpointKeys(keys)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, public, nil
}

// checkpointPurpose is what the signing key is derived for.
const checkpointPurpose = "audit/checkpoint"

// signer signs checkpoints with the newest key.
func signer(keys *store.Keyring) (*audit.Signer, error) {
	seed, err := keys.Derive(checkpointPurpose)
	if err != nil {
		return nil, err
	}
	return audit.NewSigner(seed)
}

// checkpointKeys prove what any key of the ring signed.
func checkpointKeys(keys *store.Keyring) ([]audit.PublicKey, error) {
	_, seeds, err := keys.DeriveAll(checkpointPurpose)
	if err != nil {
		return nil, err
	}
	var out []audit.PublicKey
	for _, seed := range seeds {
		s, err := audit.NewSigner(seed)
		if err != nil {
			return nil, err
		}
		out = append(out, s.Public())
	}
	return out, nil
}

type auditVerify struct {
	auditLog   `embed:""`
	Key        []string `help:"A public key that checkpoints must be signed by, instead of those of the secret at hand; may be given several times."`
	Checkpoint string   `help:"A file of checkpoints that were kept elsewhere (lines of audit export)." type:"path"`
	JSON       bool     `help:"Print JSON." name:"json"`
}

// A verified is what verify prints.
type verified struct {
	audit.Report
	Keys []string `json:"keys"`
}

// Run verifies, also beside a running server.
func (a *auditVerify) Run(e *env) error {
	var opts audit.Options
	for _, text := range a.Key {
		key, err := audit.ParsePublicKey(text)
		if err != nil {
			return usagef("--key: %s", err)
		}
		opts.Keys = append(opts.Keys, key)
	}
	if a.Checkpoint != "" {
		var err error
		if opts.Outside, err = readCheckpoints(a.Checkpoint); err != nil {
			return err
		}
	}
	s, own, err := a.open(e)
	if err != nil {
		return err
	}
	if len(opts.Keys) == 0 {
		opts.Keys = own
	}
	report, err := audit.Verify(e.ctx, s, opts)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	out := verified{Report: report, Keys: []string{}}
	for _, k := range opts.Keys {
		out.Keys = append(out.Keys, k.String())
	}
	if a.JSON {
		if err := printJSON(e.stdout, out); err != nil {
			return err
		}
	} else {
		e.printf("%s", plainLines(report.String()))
		for _, k := range out.Keys {
			e.printf("checkpoints are proven with %s\n", k)
		}
		if len(out.Keys) == 0 {
			e.printf("signatures of checkpoints were not looked at: there is no secret here, and no --key\n")
		}
	}
	if report.Wrong() != nil {
		return errSilent
	}
	return nil
}

// An exported is one line of an export: an event or a checkpoint.
type exported struct {
	Event      *exportedEvent    `json:"event,omitempty"`
	Checkpoint *audit.Checkpoint `json:"checkpoint,omitempty"`
}

// An exportedEvent is an event with its place in the chain.
type exportedEvent struct {
	audit.Event
	Seq           int64  `json:"seq,omitempty"`
	Hash          string `json:"hash,omitempty"`
	PayloadDigest string `json:"payloadDigest"`
	Salt          []byte `json:"salt,omitempty"`
	Erased        bool   `json:"erased,omitempty"`
}

// readCheckpoints takes the checkpoints out of an export.
func readCheckpoints(file string) (out []audit.Checkpoint, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(bufio.NewReader(f))
	for {
		var line exported
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s holds no lines of audit export: %w", file, err)
		}
		if line.Checkpoint != nil {
			out = append(out, *line.Checkpoint)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no checkpoint", file)
	}
	return out, nil
}

type auditExport struct {
	auditLog    `embed:""`
	Since       string `help:"Only what happened since then: a date (2026-11-22), a time (RFC 3339), or so long ago (36h, 7d)."`
	Format      string `help:"jsonl is the only one." enum:"jsonl" default:"jsonl"`
	Checkpoints bool   `help:"Only the checkpoints, to be kept elsewhere."`
}

const exportPage = 500

// Run prints events by tenant and place, each checkpoint after its event, and
// then what is not sealed yet.
func (a *auditExport) Run(e *env) (err error) {
	since, err := sinceTime(a.Since, time.Now())
	if err != nil {
		return usagef("--since: %s", err)
	}
	s, _, err := a.open(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	out := bufio.NewWriter(e.stdout)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	tenants, err := s.Tenants(e.ctx)
	for i := 0; err == nil && i < len(tenants); i++ {
		err = a.tenant(e, s, tenants[i], since, enc)
	}
	return errors.Join(err, out.Flush())
}

func (a *auditExport) tenant(e *env, s *store.Store, tenant string, since time.Time, enc *json.Encoder) error {
	var signed []audit.Checkpoint
	for after := int64(0); ; {
		page, err := s.Checkpoints(e.ctx, tenant, after, exportPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		signed, after = append(signed, page...), page[len(page)-1].Seq
	}
	upTo := func(seq int64) error {
		for ; len(signed) > 0 && signed[0].Seq <= seq; signed = signed[1:] {
			if !signed[0].At.Before(since) {
				if err := enc.Encode(exported{Checkpoint: &signed[0]}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	write := func(list func(after int64) ([]audit.Record, error), place func(*audit.Record) int64) error {
		for after := int64(0); ; {
			page, err := list(after)
			if err != nil || len(page) == 0 {
				return err
			}
			for i := range page {
				r := &page[i]
				if after = place(r); r.At.Before(since) {
					continue
				}
				line := exportedEvent{Event: r.Event, Seq: r.Seq, Hash: r.Hash, PayloadDigest: r.PayloadDigest, Salt: r.Salt, Erased: r.Salt == nil}
				if err := errors.Join(upTo(r.Seq-1), enc.Encode(exported{Event: &line})); err != nil {
					return err
				}
			}
		}
	}
	if !a.Checkpoints {
		err := write(func(after int64) ([]audit.Record, error) { return s.Sealed(e.ctx, tenant, after, exportPage) }, func(r *audit.Record) int64 { return r.Seq })
		if err != nil {
			return err
		}
	}
	if err := upTo(1 << 62); err != nil || a.Checkpoints {
		return err
	}
	return write(func(after int64) ([]audit.Record, error) { return s.Unsealed(e.ctx, tenant, after, exportPage) }, func(r *audit.Record) int64 { return r.N })
}

// sinceTime reads a date, a time, or how long ago; "" is the beginning.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	ago, err := config.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no date, time or duration; write 2026-11-22, 2026-11-22T08:00:00Z, 36h or 7d", text)
	}
	return now.Add(-ago), nil
}
