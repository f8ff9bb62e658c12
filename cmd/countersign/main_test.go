package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A binary is the program, built once for all tests.
type binary struct {
	tags string // of the build
	once sync.Once
	dir  string
	path string
	err  error
}

var (
	shipped = binary{}                   // as everybody has it
	failing = binary{tags: "failpoints"} // can be told where to die
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, b := range []*binary{&shipped, &failing} {
		if b.dir != "" {
			os.RemoveAll(b.dir)
		}
	}
	os.Exit(code)
}

// program is the path of the built program.
func (b *binary) program(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "countersign-bin-"); b.err != nil {
			return
		}
		b.path = filepath.Join(b.dir, "countersign")
		out, err := exec.Command("go", "build", "-tags", b.tags, "-o", b.path, ".").CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if b.err != nil {
		t.Fatalf("building the program: %v", b.err)
	}
	return b.path
}

// anyPort lets the system choose: a port that was free a moment ago may be
// another test's by now.
const anyPort = "127.0.0.1:0"

// patience bounds every wait of these tests; nothing waits that long unless it
// is broken.
const patience = 90 * time.Second

// eventually asks again until ok, and fails with what was seen last.
func eventually(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	last := ""
	until := time.Now().Add(patience)
	for time.Now().Before(until) {
		var done bool
		if done, last = ok(); done {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("waited for %s in vain; last: %s", what, last)
}

// output collects what a program writes, and can be waited on.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is all that was written.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// find waits for a pattern and answers its first group.
func (o *output) find(t testing.TB, pattern string, ended <-chan struct{}) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found string
	eventually(t, pattern, func() (bool, string) {
		over := false
		select {
		case <-ended:
			over = true
		default:
		}
		text := o.String()
		if m := re.FindStringSubmatch(text); m != nil {
			found = m[len(m)-1]
			return true, ""
		}
		if over {
			t.Fatalf("the program ended and never said %s; it said:\n%s", pattern, text)
		}
		return false, text
	})
	return found
}

// A node is a running gateway: another process, or this one.
type node struct {
	url    string
	stdout *output
	stderr *output
	ended  chan struct{}
	cmd    *exec.Cmd          // of another process
	cancel context.CancelFunc // of this one
	code   int                // once ended
}

// spawn starts the real program.
func spawn(t testing.TB, env []string, args ...string) *node {
	t.Helper()
	cmd := exec.Command(shipped.program(t), args...)
	cmd.Env = append(os.Environ(), env...)
	return start(t, cmd)
}

// start starts a command that is, or becomes, the program.
func start(t testing.TB, cmd *exec.Cmd) *node {
	t.Helper()
	n := &node{stdout: &output{}, stderr: &output{}, ended: make(chan struct{}), cmd: cmd}
	n.cmd.Stdout, n.cmd.Stderr = n.stdout, n.stderr
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		err := n.cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			n.code = exit.ExitCode()
		}
	}()
	t.Cleanup(func() { n.kill() })
	return n
}

// arguments of a server of the site.
func (s *site) arguments() []string {
	return []string{"serve", "--config", s.file("countersign.yaml"), "--data", s.data(), "--listen", anyPort}
}

// serving waits until it says where it serves.
func (n *node) serving(t testing.TB) *node {
	t.Helper()
	n.url = n.stderr.find(t, `countersign serves (https?://\S+)`, n.ended)
	return n
}

// serve starts the gateway of a project in another process.
func serve(t testing.TB, p *site) *node {
	t.Helper()
	return spawn(t, nil, p.arguments()...).serving(t)
}

// serveFailing is serve with the program that can be told where to die, and how
// long its leases are.
func serveFailing(t testing.TB, p *site, env ...string) *node {
	t.Helper()
	cmd := exec.Command(failing.program(t), p.arguments()...)
	cmd.Env = append(os.Environ(), env...)
	return start(t, cmd).serving(t)
}

// within starts the gateway of a project in this process.
func within(t testing.TB, p *site, more ...string) *node {
	t.Helper()
	n := &node{stdout: &output{}, stderr: &output{}, ended: make(chan struct{})}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	e := &env{ctx: ctx, stdin: strings.NewReader(""), stdout: n.stdout, stderr: n.stderr, getenv: os.Getenv}
	go func() {
		defer close(n.ended)
		n.code = run(e, append(p.arguments(), more...))
	}()
	t.Cleanup(func() { n.stop(t) })
	return n.serving(t)
}

// stop ends it as Ctrl-C does; it must end cleanly.
func (n *node) stop(t testing.TB) {
	t.Helper()
	select {
	case <-n.ended:
		return
	default:
	}
	if n.cancel != nil {
		n.cancel()
	} else if err := n.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Errorf("interrupting: %v", err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Fatalf("it does not end; it said:\n%s", n.stderr)
	}
	if n.code != 0 {
		t.Errorf("it ended with %d; it said:\n%s", n.code, n.stderr)
	}
}

// kill ends another process at once, as kill -9 does.
func (n *node) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Signal(syscall.SIGCONT)
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
}

// wait waits until the program ends by itself.
func (n *node) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-n.ended:
	case <-time.After(patience):
		t.Fatalf("it does not end; it said:\n%s", n.stderr)
	}
	return n.code
}

// An answer is what /graphql said.
type answer struct {
	status int
	header http.Header
	raw    string
	Data   map[string]any
	Errors []answerError
}

type answerError struct {
	Message    string
	Path       []any
	Extensions map[string]any
}

// code is that of the first error; "" without one.
func (a *answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

// at is the value at a dotted path inside data, as text; a number indexes a
// list.
func (a *answer) at(path string) string {
	var v any = a.Data
	for _, k := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[k]
		case []any:
			i, err := strconv.Atoi(k)
			if err != nil || i >= len(x) {
				return ""
			}
			v = x[i]
		default:
			return ""
		}
	}
	switch x := v.(type) {
	case nil:
		return "null"
	case string:
		return x
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// bearer is a header.
func bearer(token string) http.Header {
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// post sends one request with headers and reads the whole answer.
func (n *node) post(t testing.TB, path string, h http.Header, body string) (*http.Response, string) {
	t.Helper()
	res, text, err := n.tryPost(path, h, body)
	if err != nil {
		t.Fatal(err)
	}
	return res, text
}

func (n *node) tryPost(path string, h http.Header, body string) (*http.Response, string, error) {
	req, err := http.NewRequest(http.MethodPost, n.url+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range h {
		req.Header[k] = v
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return res, string(raw), err
}

type vars = map[string]any

// ask runs an operation with a bearer token ("" for none).
func (n *node) ask(t testing.TB, token, query string, variables vars) *answer {
	t.Helper()
	a, err := n.try(token, query, variables)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (n *node) try(token, query string, variables vars) (*answer, error) {
	body, err := json.Marshal(vars{"query": query, "variables": variables})
	if err != nil {
		return nil, err
	}
	return n.send(bearer(token), string(body))
}

// send posts a body to /graphql.
func (n *node) send(h http.Header, body string) (*answer, error) {
	res, text, err := n.tryPost("/graphql", h, body)
	if err != nil {
		return nil, err
	}
	return read(res, text)
}

func read(res *http.Response, text string) (*answer, error) {
	a := &answer{status: res.StatusCode, header: res.Header, raw: text}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(a); err != nil {
		return nil, fmt.Errorf("%s: not JSON: %q", res.Status, text)
	}
	return a, nil
}

// must is ask without errors.
func (n *node) must(t testing.TB, token, query string, variables vars) *answer {
	t.Helper()
	a := n.ask(t, token, query, variables)
	if len(a.Errors) > 0 {
		t.Fatalf("%s\nwas answered %s", query, a.raw)
	}
	return a
}

// firstLine reads the first line of a program's standard output.
func (n *node) firstLine(t testing.TB) string {
	t.Helper()
	return n.stdout.find(t, `^([^\n]*)\n`, n.ended)
}
