package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/store"
)

// nowhere takes events and keeps none: what a process did not commit any more.
type nowhere struct{}

func (nowhere) AppendAll(context.Context, []audit.Event) error { return nil }

// intend begins direct writes, and ends one of them, until it is killed.
func intend(dir string) error {
	in, _, err := store.OpenIntents(context.Background(), dir, nowhere{})
	if err != nil {
		return err
	}
	for _, id := range []string{"committed", "lost", "lost too"} {
		end, err := in.Begin([]audit.Event{{ID: id, Tenant: "t", Kind: "write.unknown", Subject: "crm.customers", Payload: []byte(`{"act":"update"}`)}})
		if err != nil {
			return err
		}
		if id == "committed" {
			end()
		}
	}
	fmt.Println("begun")
	select {}
}

// TestIntentsOutliveTheProcess kills a process between the first byte of a
// direct write and its event, and wants the write in the log, once.
func TestIntentsOutliveTheProcess(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "COUNTERSIGN_INTENTS_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begun\n" {
			t.Fatal(line, err)
		}
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		if err := s.AppendAll(t.Context(), []audit.Event{{ID: "committed", Tenant: "t", Kind: "write.applied", Subject: "crm.customers"}}); err != nil {
			t.Fatal(err)
		}
		// Another process beside it has files of its own, and leaves its alone.
		beside, n, err := store.OpenIntents(t.Context(), dir, s)
		if err != nil || n != 0 {
			t.Fatal(n, err)
		}
		if err := beside.Close(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		// A line that was cut was not begun.
		f, err := os.OpenFile(filepath.Join(dir, "direct-writes-0.a"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`[{"id":"torn","tenant":"t","kin`); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{3, 0} {
			in, n, err := store.OpenIntents(t.Context(), dir, s)
			if err != nil || n != want {
				t.Fatal(n, want, err)
			}
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			var got []string
			records, err := s.Events(t.Context(), "t", "", 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				got = append(got, r.ID+" "+r.Kind+" "+string(r.Payload))
			}
			if text := strings.Join(got, ", "); text != `lost too write.unknown {"act":"update"}, lost write.unknown {"act":"update"}, committed write.applied ` {
				t.Fatal(text)
			}
		}
		sealAll(t, s)
		if r := verify(t, s); r.Wrong() != nil || r.Tenants[0].Sealed != 3 {
			t.Fatal(r)
		}
	})
}

// TestIntentsDoNotGrow begins and ends many direct writes: the files stay small.
func TestIntentsDoNotGrow(t *testing.T) {
	dir := t.TempDir()
	in, _, err := store.OpenIntents(t.Context(), dir, nowhere{})
	if err != nil {
		t.Fatal(err)
	}
	event := []audit.Event{{ID: "x", Tenant: "t", Kind: "write.unknown", Payload: []byte(`"` + strings.Repeat("x", 100_000) + `"`)}}
	last := func() {}
	for range 200 {
		end, err := in.Begin(event)
		if err != nil {
			t.Fatal(err)
		}
		last() // there is always one under way
		last = end
	}
	last()
	total := int64(0)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if total += info.Size(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", name, info.Mode())
		}
	}
	if total > 3<<20 {
		t.Errorf("%d bytes", total)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
}
