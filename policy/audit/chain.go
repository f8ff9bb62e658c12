package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strconv"
)

// A Record is an event as stored.
type Record struct {
	Event
	// N orders the events of all tenants by when they were inserted; it has
	// gaps.
	N int64
	// Seq is the place in the tenant's chain, from 1 without gaps; 0: not sealed
	// yet.
	Seq int64
	// Hash is the chain's hash up to and with this event, in hexadecimal; empty:
	// not sealed yet.
	Hash string
	// PayloadDigest is SaltedDigest of Salt and Payload as appended. It outlives
	// them.
	PayloadDigest string
	// Salt stands with the payload; nil: the payload was erased, or removed.
	Salt []byte
}

// A Head is the end of a tenant's chain as it was kept somewhere.
type Head struct {
	Tenant string `json:"tenant"`
	Seq    int64  `json:"seq"`
	Hash   string `json:"hash"`
}

// SaltSize is how many random bytes a payload's salt has.
const SaltSize = 16

// SaltedDigest is what the chain holds of a payload. The salt keeps a short
// payload from being guessed out of its digest after it was erased.
func SaltedDigest(salt, payload []byte) string {
	h := sha256.New()
	h.Write([]byte("countersign/audit/payload/v1\x00"))
	writeField(h, salt)
	writeField(h, payload)
	return hex.EncodeToString(h.Sum(nil))
}

// Extend is the head after one more event. The store calls it for each event
// it seals, Verify for each it proves. It reads neither Payload nor Salt, nor
// the place the record has now.
func Extend(head Head, r *Record) Head {
	h := sha256.New()
	h.Write([]byte("countersign/audit/v1\x00"))
	seq := head.Seq + 1
	for _, field := range []string{
		head.Hash, strconv.FormatInt(seq, 10), r.Tenant, r.ID,
		strconv.FormatInt(r.At.UnixMicro(), 10), r.Kind, r.Subject, r.From, r.To,
		r.PolicyVersion, r.TraceID, r.PayloadDigest, strconv.Itoa(len(r.Actors)),
	} {
		writeField(h, []byte(field))
	}
	for _, a := range r.Actors {
		writeField(h, []byte(a.ID))
		writeField(h, []byte(a.Kind))
		writeField(h, []byte(a.Credential))
	}
	return Head{Tenant: head.Tenant, Seq: seq, Hash: hex.EncodeToString(h.Sum(nil))}
}

// writeField writes a length and the bytes, so that no two lists of fields give
// the same input.
func writeField(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// Store keeps events. Appending is not here: an event is appended by the
// store's own writing methods, in the transaction of what it tells of. All
// methods may be called concurrently; their errors are the store's (see
// package store) and leave nothing half-done.
type Store interface {
	// Seal extends each tenant's chain by at most limit events that are
	// committed and have no place yet, in the order of N, one transaction per
	// tenant. It returns how many it sealed. A chain that another process is
	// extending right now is left to it.
	Seal(ctx context.Context, limit int) (int, error)
	// Tenants lists every tenant that has events, sorted.
	Tenants(ctx context.Context) ([]string, error)
	// Heads lists every head of the tenant's chain that is kept anywhere: with
	// the events, and beside the data.
	Heads(ctx context.Context, tenant string) ([]Head, error)
	// Sealed lists sealed events with Seq > after, by Seq, at most limit.
	Sealed(ctx context.Context, tenant string, after int64, limit int) ([]Record, error)
	// Checkpoints lists the tenant's with Seq > after, by Seq, at most limit.
	Checkpoints(ctx context.Context, tenant string, after int64, limit int) ([]Checkpoint, error)
	// Base is where the tenant's chain begins: what was before was pruned. The
	// zero Seq: nothing was.
	Base(ctx context.Context, tenant string) (Head, error)
	// Unsealed lists events without a place with N > after, by N, at most limit.
	Unsealed(ctx context.Context, tenant string, after int64, limit int) ([]Record, error)
}
