package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/connectors/connectortest"
)

// A page's blocks that are marked `sh run` are run, in their order, by one shell
// in a folder of their own, with the program on its PATH and CRM_URL leading to
// a small database. `sh run serve` is started beside them and its output kept
// in serve.log. What a person does in a browser stands in comments that begin
// with "run": the reader does not see it, and the test does it.
var runnable = regexp.MustCompile("(?ms)^```sh run( serve)?\n(.*?)^```$|^<!-- run\n(.*?)^-->$")

// The README's promise about one's own database.
const crmSchema = `
	create table customers (id int primary key, name text not null, email text unique, phone text);
	create table orders (id int primary key, customer_id int not null references customers, total numeric(10,2) not null);
	insert into customers values (1, 'Jane Miller', 'jane@example.com', null), (2, 'John Smith', 'john@example.com', '+49301');
	insert into orders values (1, 1, 12.50), (2, 1, 99.90), (3, 2, 7.00)`

func TestDocsRun(t *testing.T) {
	for name, text := range pages(t) {
		blocks := runnable.FindAllStringSubmatch(text, -1)
		if len(blocks) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) { runPage(t, blocks) })
	}
	if !runnable.MatchString(page(t, "README.md")) {
		t.Error("nothing in README.md is run")
	}
}

func runPage(t *testing.T, blocks [][]string) {
	address := connectortest.Postgres(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), crmSchema)
	if closed := conn.Close(t.Context()); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	bin := t.TempDir()
	if err := os.Symlink(shipped.program(t), filepath.Join(bin, "countersign")); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null && wait' EXIT\n")
	for _, b := range blocks {
		text := strings.ReplaceAll(b[2]+b[3], "127.0.0.1:8080", listen)
		if b[1] == "" {
			script.WriteString(text)
			continue
		}
		// The configuration that init wrote has the usual port, which may be taken.
		script.WriteString(strings.TrimSpace(text) + " --listen " + listen + " >serve.log 2>&1 &\n" +
			"until curl -fs http://" + listen + "/readyz >/dev/null; do kill -0 $! || { cat serve.log; exit 1; }; done\n")
	}
	// The server runs on until what it was told is seen.
	script.WriteString("\necho all was said\nread -r _ || true\n")
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "CRM_URL="+address, "COUNTERSIGN_URL=http://127.0.0.1:"+port,
		"COUNTERSIGN_CONFIG_DIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, ended := &output{}, make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var waited error
	go func() {
		defer close(ended)
		waited = cmd.Wait()
	}()
	defer func() {
		hold.Close()
		<-ended
		if log, logErr := os.ReadFile(filepath.Join(cmd.Dir, "serve.log")); waited != nil || t.Failed() {
			t.Errorf("%v\n%s\n%s%v", waited, out, log, logErr)
		}
	}()
	out.find(t, `(?m)^(all was said)$`, ended)
	// What the README ends with.
	conn, err = pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(t, "the confirmed change", func() (bool, string) {
		var got string
		if err := conn.QueryRow(t.Context(), "select name from customers where id = 1").Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got == "Jane Doe", got
	})
}
