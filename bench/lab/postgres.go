//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Postgres is a throw-away PostgreSQL server on a loopback port of its own,
// with trust authentication. It ends with Stop, and with the process that
// started it.
type Postgres struct {
	dir, bin string
	port     int
	process  *Process
}

// StartPostgres makes a server in a new folder below dir. As root it runs as
// the user postgres, because PostgreSQL refuses to run as root.
func StartPostgres(ctx context.Context, dir string) (*Postgres, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: filepath.Join(dir, "postgres"), bin: bin}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return nil, err
	}
	cred, err := credential(p.dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = p.dir, &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	for attempt := 0; ; attempt++ {
		if err = p.launch(ctx, data, cred); err == nil {
			return p, nil
		}
		// Another process may have taken the port between looking and binding.
		if attempt == 2 || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (p *Postgres) launch(ctx context.Context, data string, cred *syscall.Credential) (err error) {
	if p.port, err = FreePort(); err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(p.port),
		"-c", "unix_socket_directories=", "-c", "max_connections=200", "-c", "shared_buffers=256MB", "-c", "jit=off",
		// Commits do not wait for the disk, which would hide what servers cost.
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "max_wal_size=4GB", "-c", "autovacuum=off")
	cmd.Dir = p.dir
	// SIGINT is PostgreSQL's fast shutdown: open connections are dropped.
	if p.process, err = startProcess(cmd, filepath.Join(p.dir, "log"), cred, syscall.SIGINT); err != nil {
		return err
	}
	if err := p.await(ctx, data); err != nil {
		p.process.Stop()
		text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// await returns once the server answers, and is the one that was started.
func (p *Postgres) await(ctx context.Context, data string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.URL("postgres"))
		if err == nil {
			var got string
			err = conn.QueryRow(ctx, "show data_directory").Scan(&got)
			conn.Close(ctx)
			if err == nil && got != data {
				err = fmt.Errorf("another server (%s) answers at port %d", got, p.port)
			}
			return err
		}
		select {
		case <-p.process.ended:
			return errors.New("PostgreSQL ended while it started")
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is the address of one of its databases.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

// PID is the postmaster's, the parent of all its processes.
func (p *Postgres) PID() int { return p.process.PID() }

// Stop ends the server and waits for its end.
func (p *Postgres) Stop() { p.process.Stop() }

// credential is who the server runs as; nil: as ourselves.
func credential(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("running as root needs a user postgres: %w", err)
	}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(errUID, errGID); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, int(uid), int(gid))
}

// postgresPrograms is the folder of the newest server's programs.
func postgresPrograms() (string, error) {
	folders, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	version := func(folder string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
		return n
	}
	sort.Slice(folders, func(i, j int) bool { return version(folders[i]) > version(folders[j]) })
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append([]string{filepath.Dir(path)}, folders...)
		}
	}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "postgres")); err == nil {
			return folder, nil
		}
	}
	return "", errors.New("no PostgreSQL server programs (initdb, postgres) on the PATH or in /usr/lib/postgresql; Debian: apt-get install postgresql")
}

// FreePort is a loopback port that nobody has at this moment.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
