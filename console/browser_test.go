package console_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/countersign/countersign/console/browsertest"
)

// The browser tests start the demo as a user does and look at its pages in a
// real Chromium. The scripts are testdata/browser/*.mjs; browser.mjs fails each
// of them for a console error, a violation of the content security policy, a
// dialog and a request to anywhere else.
//
// COUNTERSIGN_TEST_SHOTS=DIR keeps pictures of what they saw.
func TestBrowser(t *testing.T) {
	demo := startDemo(t)
	scripts := browsertest.Install(t, "testdata/browser")
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
	demo["chromium"] = browsertest.Find(t, "chromium", "chromium-browser", "google-chrome")
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
