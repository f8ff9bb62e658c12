package console_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The browser tests start the demo as a user does and look at its pages in a
// real Chromium. The scripts are testdata/browser/*.mjs; browser.mjs fails each
// of them for a console error, a violation of the content security policy, a
// dialog and a request to anywhere else.
//
// COUNTERSIGN_TEST_SHOTS=DIR keeps pictures of what they saw.
func TestBrowser(t *testing.T) {
	demo := startDemo(t)
	scripts := install(t)
	for _, name := range []string{"inbox", "explorer", "payloads"} {
		script(t, scripts, demo, name)
	}
}

// script runs one of the scripts, told where the demo is, as a test of its own.
func script(t *testing.T, scripts string, demo []byte, name string) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "node", name+".mjs")
		cmd.Dir = scripts
		cmd.Stdin = bytes.NewReader(demo)
		// A browser of our own process group ends with the test.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}

// startDemo runs the demo on a free port until the test ends, and answers what
// the scripts are told: the line of --json, the link, and where Chromium is.
func startDemo(t *testing.T, flags ...string) []byte {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "countersign")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/countersign/countersign/cmd/countersign").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	cmd := exec.Command(bin, append([]string{"demo", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data"), "--json"}, flags...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	link, said := make(chan string, 1), make(chan string, 1)
	go func() { said <- follow(stderr, link) }()
	line, readErr := bufio.NewReader(stdout).ReadBytes('\n')
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		text := <-said
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo ended with %v\n%s", err, text)
		}
	})
	if readErr != nil {
		t.Fatalf("the demo said nothing: %v", readErr)
	}
	var demo map[string]any
	if err := json.Unmarshal(line, &demo); err != nil {
		t.Fatal(err)
	}
	demo["link"] = <-link
	demo["chromium"] = find(t, "chromium", "chromium-browser", "google-chrome")
	demo["shots"] = os.Getenv("COUNTERSIGN_TEST_SHOTS")
	out, err := json.Marshal(demo)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// follow reads what the demo says, gives the link on, and answers all of it.
func follow(r io.Reader, link chan<- string) string {
	defer close(link)
	var all strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "/sign-in#link=") {
			link <- strings.TrimSpace(lines.Text())
		}
	}
	return all.String()
}

func find(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("none of %v is installed; .ci/setup installs what the tests need", names)
	return ""
}

// install puts the scripts into a folder with the library they use. The library
// is kept in the user's cache, by the digest of the lock, so that a second run
// asks no registry.
func install(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("testdata/browser/*")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.ReadFile("testdata/browser/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256(lock)
	kept := filepath.Join(cache, "countersign-test", "browser-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(kept); errors.Is(err, os.ErrNotExist) {
		fetch(t.Context(), t, kept)
	}
	if err := os.Symlink(filepath.Join(kept, "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fetch installs exactly what the lock names. A half-done installation is never
// taken for a whole one: the folder gets its name last.
func fetch(ctx context.Context, t *testing.T, kept string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(kept), "new-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("testdata/browser", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tmp, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(tmp, kept); err != nil {
		if _, there := os.Stat(kept); there != nil {
			t.Fatal(err)
		}
	}
}
