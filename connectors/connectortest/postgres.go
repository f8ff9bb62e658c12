//go:build unix

package connectortest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresEnv names the variable that holds the URL of a PostgreSQL server to
// use instead of a throw-away one. Its user must be allowed to create
// databases; nothing but databases of our own is touched.
const PostgresEnv = "COUNTERSIGN_TEST_POSTGRES"

// KeepEnv names the variable that, set to 1, keeps the databases of failed
// tests. A throw-away server still ends with its process.
const KeepEnv = "COUNTERSIGN_KEEP"

// Postgres returns the URL of a fresh, empty database, dropped at the end of
// the test. It stands on the server of PostgresEnv, or on a throw-away server
// that is started once for the test process and ends with it, however the
// process ends. Where no server can be had the test fails.
func Postgres(t testing.TB) string {
	t.Helper()
	if base := os.Getenv(PostgresEnv); base != "" {
		return newDatabase(t, base, "")
	}
	s := sharedServer(t)
	return newDatabase(t, s.URL("postgres"), s.data())
}

// shared is the one server of this test process.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

func sharedServer(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = startServer() })
	if shared.err != nil {
		t.Fatalf("no PostgreSQL server for tests: %v\nInstall one (Debian: apt-get install postgresql), or set %s to the URL of one.",
			shared.err, PostgresEnv)
	}
	return shared.server
}

// newDatabase creates a database. With dataDirectory it first makes sure that
// the server at base is the one that lives there: two suites once met on one
// port.
func newDatabase(t testing.TB, base, dataDirectory string) string {
	t.Helper()
	name := "countersign_test_" + randomName()
	admin := func(statement string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, base)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		if dataDirectory != "" {
			if err := assertServer(ctx, conn, dataDirectory); err != nil {
				return err
			}
		}
		_, err = conn.Exec(ctx, statement)
		return err
	}
	// The name is made of fixed text and hexadecimal digits.
	if err := admin("CREATE DATABASE " + name); err != nil {
		t.Fatalf("creating a test database: %v", err)
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatalf("the URL of the PostgreSQL server: %v", err)
	}
	u.Path = "/" + name
	t.Cleanup(func() {
		if t.Failed() && os.Getenv(KeepEnv) == "1" {
			t.Logf("kept the database %s", u)
			return
		}
		if err := admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			t.Logf("dropping the test database: %v", err)
		}
	})
	return u.String()
}

func assertServer(ctx context.Context, conn *pgx.Conn, dataDirectory string) error {
	var got string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&got); err != nil {
		return err
	}
	if got != dataDirectory {
		return fmt.Errorf("the server's data directory is %s, not %s: another server answers there", got, dataDirectory)
	}
	return nil
}

func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// A Server is a throw-away PostgreSQL server on a free loopback port, with
// trust authentication and without fsync. It is for one test at a time.
type Server struct {
	dir  string // of its own, removed at the end
	bin  string // where its programs are
	port int
	// The server runs under a shell that waits on a pipe from this process and
	// ends the server when the pipe closes: by Stop, or because this process
	// died in whatever way.
	super *exec.Cmd
	leash *os.File
	alive *os.File // reads end-of-file once the server is gone
	cred  *syscall.Credential
}

// PostgresServer starts a server of its own for a test that needs it to go
// away and come back. It ends with the test.
func PostgresServer(t testing.TB) *Server {
	t.Helper()
	s, err := startServer()
	if err != nil {
		t.Fatalf("starting a PostgreSQL server: %v", err)
	}
	t.Cleanup(func() {
		s.halt("")
		os.RemoveAll(s.dir)
	})
	return s
}

// URL is the address of a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// NewDatabase creates an empty database and returns its URL; it lives as long
// as the server.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	return newDatabase(t, s.URL("postgres"), s.data())
}

// Stop ends the server as a crash would: connections drop, nothing is told to
// clients. What was committed is there again after Start.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.super == nil {
		t.Fatal("the PostgreSQL server is stopped already")
	}
	s.halt("stop\n")
}

// Start starts a stopped server again, on the same port.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if s.super != nil {
		t.Fatal("the PostgreSQL server runs already")
	}
	if err := s.launch(); err != nil {
		t.Fatalf("starting the PostgreSQL server again: %v", err)
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func startServer() (*Server, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	sweepServers()
	dir, err := os.MkdirTemp("", serverPrefix)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	if err := s.create(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	// A free port may be taken by another before the server binds it.
	for attempt := 0; ; attempt++ {
		if s.port, err = freePort(); err == nil {
			err = s.launch()
		}
		if err == nil {
			return s, nil
		}
		if attempt == 4 {
			os.RemoveAll(dir)
			return nil, err
		}
	}
}

// create makes the data directory. PostgreSQL refuses to run as root, so root
// becomes the user postgres.
func (s *Server) create() error {
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return fmt.Errorf("running as root needs a user postgres: %w", err)
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return err
		}
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return err
		}
	}
	var out []byte
	for _, locale := range []string{"C.UTF-8", "C"} {
		cmd := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust",
			"-E", "UTF8", "--locale="+locale, "--no-sync")
		cmd.Dir = s.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
		var err error
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("initdb failed: %s", out)
}

// supervise runs the server (its command is "$@") until standard input ends or
// says stop; without stop the folder goes too. File 3 is the folder's lock,
// held by all of them; file 4 tells by its end that the server is gone.
const supervise = `
dir=$1; shift
"$@" </dev/null &
pid=$!
exec 4>&-
read word
kill -QUIT $pid 2>/dev/null
wait $pid
[ "$word" = stop ] || rm -rf "$dir"
`

func (s *Server) launch() error {
	lock, err := lockFolder(s.dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	logFile, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	stdin, leash, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	alive, status, err := os.Pipe()
	if err != nil {
		leash.Close()
		return err
	}
	defer status.Close()
	args := []string{"-c", supervise, "sh", s.dir, filepath.Join(s.bin, "postgres"), "-D", s.data(),
		"-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(s.port),
		"-c", "max_connections=200", "-c", "shared_buffers=32MB",
		"-c", "fsync=off", "-c", "full_page_writes=off"}
	// Socket addresses hold about 100 bytes.
	if sockets := s.dir; len(sockets) < 80 {
		args = append(args, "-c", "unix_socket_directories="+sockets)
	} else {
		args = append(args, "-c", "unix_socket_directories=")
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = s.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, logFile, logFile
	cmd.ExtraFiles = []*os.File{lock, status}
	// A session of its own: Ctrl-C must not end the shell before the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setsid: true}
	if err := cmd.Start(); err != nil {
		leash.Close()
		alive.Close()
		return err
	}
	status.Close()
	s.super, s.leash, s.alive = cmd, leash, alive
	if err := s.await(); err != nil {
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.halt("stop\n")
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// await returns once the server answers and is the right one.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			defer conn.Close(ctx)
			return assertServer(ctx, conn, s.data())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the server did not answer: %w", err)
		}
		// Waiting for the server's end for a moment is also the pause.
		if s.alive.SetReadDeadline(time.Now().Add(20*time.Millisecond)) != nil {
			return errors.New("pipes without deadlines on this system")
		}
		if _, err := s.alive.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("the server ended while it started")
		}
	}
}

// halt ends the server and waits for its end.
func (s *Server) halt(word string) {
	if s.super == nil {
		return
	}
	s.leash.WriteString(word) // an error means that the shell is gone already
	s.leash.Close()
	s.super.Wait()
	s.alive.Close()
	s.super = nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

const serverPrefix = "countersign-pg-"

// lockFolder takes the lock that tells that a folder is in use. It is released
// when the last process that inherited it ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweepServers removes folders whose server and supervisor are both dead.
func sweepServers() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), serverPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < 10*time.Minute {
			continue // perhaps being made, or stopped by its test
		}
		if lock, err := lockFolder(dir); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}

// findPostgres finds the folder of the newest server's programs, or installs
// them where root may.
func findPostgres() (string, error) {
	if bin := installedPostgres(); bin != "" {
		return bin, nil
	}
	if os.Geteuid() != 0 {
		return "", errors.New("its programs (initdb, postgres) are neither on the PATH nor in /usr/lib/postgresql")
	}
	cmd := exec.Command("apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "postgresql")
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if bin := installedPostgres(); bin != "" {
		return bin, nil
	}
	return "", fmt.Errorf("apt-get install postgresql did not help (%v): %s", err, out)
}

func installedPostgres() string {
	var dirs []string
	for _, program := range []string{"pg_ctl", "initdb", "postgres"} {
		if path, err := exec.LookPath(program); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
	}
	packaged, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(packaged, func(i, j int) bool { return majorOf(packaged[i]) > majorOf(packaged[j]) })
	for _, dir := range append(dirs, packaged...) {
		if executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres")) {
			return dir
		}
	}
	return ""
}

func majorOf(bin string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(filepath.Dir(bin)), "/"))
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}
