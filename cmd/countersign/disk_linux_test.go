package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// maxFileSize sets the soft limit of the size of files of a running process.
func maxFileSize(t testing.TB, pid int, bytes uint64) {
	t.Helper()
	limit := syscall.Rlimit{Cur: bytes, Max: ^uint64(0)}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_FSIZE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
}

// A disk is where a site's data is, which can be full.
type disk struct {
	full, free func(t testing.TB, n *node)
}

// limited is a process that may not write to files any more. It needs no rights.
func limited(testing.TB, *site) *disk {
	return &disk{func(t testing.TB, n *node) { maxFileSize(t, n.cmd.Process.Pid, 0) }, func(t testing.TB, n *node) { maxFileSize(t, n.cmd.Process.Pid, ^uint64(0)) }}
}

// small is a file system of a few megabytes; nil where this user may not mount
// one.
func small(t testing.TB, s *site) *disk {
	t.Helper()
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.data(), "tmpfs", 0, "size=8m"); err != nil {
		return nil
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(s.data(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(s.data(), "ballast")
	return &disk{func(t testing.TB, _ *node) {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !strings.Contains(err.Error(), "no space left") {
			t.Fatal(err)
		}
	}, func(t testing.TB, _ *node) {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}}
}

// TestDiskFull: while the store cannot be written, writes are refused, nothing
// is half-done, and reads go on. With space again, so does everything else.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for what, on := range map[string]func(testing.TB, *site) *disk{"limit": limited, "file system": small} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, "")
			if d := on(t, s.site); d != nil {
				d.filled(t, s)
			} else {
				t.Log("this user may not mount a file system; the limit is tested without")
			}
		})
	}
}

func (d *disk) filled(t *testing.T, s *shopSite) {
	s.staff(t)
	n := serve(t, s.site)
	n.ready(t)
	owner, lead := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	propose := func(id int) (*answer, error) {
		return n.try(s.tokens["bot"], fmt.Sprintf(`mutation { updateItem(id: %d, patch: {stock: {set: 700}}) { outcome proposal { id } errors { code message } } }`, id), nil)
	}
	keyed := func() (*answer, error) {
		return n.try(owner, `mutation { updateItem(id: 60, patch: {stock: {set: 700}}, options: {idempotencyKey: "k"}) { outcome errors { code message } } }`, nil)
	}
	first, err := propose(1)
	if err != nil || first.at("updateItem.outcome") != "PROPOSED" {
		t.Fatalf("%v %v", first, err)
	}
	id := first.at("updateItem.proposal.id")
	p := n.proposal(t, lead, id)
	decide := func() (*answer, error) {
		return n.try(lead, approveMutation, vars{"id": id, "r": 1, "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")})
	}

	d.full(t, n)
	refused := func(a *answer) bool {
		code := a.code()
		if code == "" {
			code = a.at("updateItem.errors.0.code")
		}
		return code == "UPSTREAM_UNAVAILABLE"
	}
	// A log that has room left inside is written until it has not.
	kept := 1
	for i := 2; ; i++ {
		a, err := propose(i)
		if err != nil || i == 50 {
			t.Fatalf("the disk is not full after %d proposals: %v", i, err)
		}
		if refused(a) {
			break
		}
		if a.at("updateItem.outcome") != "PROPOSED" {
			t.Fatalf("a proposal is answered %s", a.raw)
		}
		kept++
	}
	for what, ask := range map[string]func() (*answer, error){"a decision": decide, "a keyed write": keyed} {
		if a, err := ask(); err != nil || !refused(a) || strings.Contains(a.raw, s.dir) {
			t.Errorf("%s is answered %v %v", what, a, err)
		}
	}
	if a := n.must(t, lead, `{ items(first: 1) { nodes { name } } }`, nil); a.at("items.nodes.0.name") != "Item 1" {
		t.Errorf("a read is answered %s", a.raw)
	}
	if got := countProposals(t, n, lead); got != kept {
		t.Errorf("%d proposals, not %d", got, kept)
	}
	if res, err := http.Get(n.url + "/healthz"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %v %v", res, err)
	}
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock = 700"); got != "0" {
		t.Errorf("%s items were changed", got)
	}

	d.free(t, n)
	for what, ask := range map[string]func() (*answer, error){"a decision": decide, "a keyed write": keyed} {
		eventually(t, what, func() (bool, string) {
			a, err := ask()
			if err != nil {
				return false, err.Error()
			}
			return len(a.Errors) == 0 && !strings.Contains(a.raw, "NOT_APPLIED"), a.raw
		})
	}
	if state := n.settledState(t, lead, id); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	if a, err := propose(51); err != nil || a.at("updateItem.outcome") != "PROPOSED" {
		t.Errorf("a proposal is answered %v %v", a, err)
	}
	if got := countProposals(t, n, lead); got != kept+1 {
		t.Errorf("%d proposals, not %d", got, kept+1)
	}
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock = 700"); got != "2" {
		t.Errorf("%s items were changed", got)
	}
	n.stop(t)
	do(t, "", "audit", "verify", "--data", s.data())
}

// TestDataFolderNotWritable: serve does not start, and says which folder it is.
func TestDataFolderNotWritable(t *testing.T) {
	t.Parallel()
	for _, used := range []bool{false, true} {
		s := newShop(t, "")
		if used {
			s.staff(t)
		} else if err := os.Mkdir(s.data(), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(shipped.program(t), s.arguments()...)
		if os.Geteuid() == 0 { // who may write anywhere
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			err := filepath.Walk(s.dir, func(name string, _ os.FileInfo, err error) error {
				if err != nil {
					return err
				}
				return os.Chown(name, nobody, nobody)
			})
			for _, dir := range []string{filepath.Dir(s.dir), shipped.dir} {
				if err == nil {
					err = os.Chmod(dir, 0o755)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(s.data(), 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(s.data(), 0o755) })
		n := start(t, cmd)
		if code := n.wait(t); code != exitFailed {
			t.Errorf("it ended with %d", code)
		}
		if want := "the data folder " + s.data() + " cannot be written"; !strings.Contains(n.stderr.String(), want) || strings.Contains(n.stderr.String(), "serves") {
			t.Errorf("used before %v, it says:\n%s", used, n.stderr)
		}
	}
}
