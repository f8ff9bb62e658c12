//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/bench/load"
)

// A contender is a server in a process of its own.
type contender struct {
	name string
	// limit: it is a form of the physical limit, and may be the reference.
	limit   bool
	path    string // of the address; the scenario's name where empty
	bearer  string
	only    string // the one scenario it differs in; "": all
	address string
	process *lab.Process
}

func (c *contender) does(s *scenario) bool { return c.only == "" || c.only == s.name }

func (c *contender) request(s *scenario, seed uint64) load.Request {
	path, document := c.path, s.handwritten
	if path == "" {
		path = "/" + s.name
	}
	if c.bearer != "" {
		document = s.countersign
	}
	return load.NewRequest(c.address, path, c.bearer, s.body(document, seed))
}

// startTimeout is how long a contender may take until it answers.
const startTimeout = 30 * time.Second

// start starts the process and waits until it answers. args may be made with
// the address it is to listen on.
func (c *contender) start(ctx context.Context, dir string, command func(address string) *exec.Cmd) error {
	port, err := lab.FreePort()
	if err != nil {
		return err
	}
	c.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if c.process, err = lab.Start(command(c.address), filepath.Join(dir, strings.ReplaceAll(c.name, "/", "-")+".log")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := &scenarios[0]
	if c.only != "" {
		s = scenarioNamed(c.only)
	}
	for {
		body, err := load.Ask(ctx, c.address, c.request(s, 0))
		if err == nil {
			_, err = readAnswer(body)
		}
		if err == nil {
			return nil
		}
		select {
		case <-c.process.Ended():
			text, _ := os.ReadFile(c.process.Log())
			return fmt.Errorf("%s ended while it started: %s", c.name, text)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", c.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ask is the answer to the scenario with the seed's values.
func (c *contender) ask(ctx context.Context, s *scenario, seed uint64) (any, []byte, error) {
	body, err := load.Ask(ctx, c.address, c.request(s, seed))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	v, err := readAnswer(body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return v, body, nil
}

// checks is how many different questions all contenders must answer equally
// before anything is timed.
const checks = 8

// compare makes sure that all answer the same, and says how long the shortest
// answer is.
func compare(ctx context.Context, s *scenario, contenders []*contender) (shortest int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for seed := range uint64(checks) {
		var want any
		var by string
		for _, c := range contenders {
			if !c.does(s) {
				continue
			}
			got, body, err := c.ask(ctx, s, seed)
			switch {
			case err != nil:
				return 0, err
			case by == "":
				want, by = got, c.name
			case !reflect.DeepEqual(got, want):
				return 0, fmt.Errorf("%s: %s answers %.300v and %s %.300v", s.name, c.name, got, by, want)
			}
			if shortest == 0 || len(body) < shortest {
				shortest = len(body)
			}
		}
	}
	return shortest, nil
}

// startAll starts every contender.
func startAll(ctx context.Context, o *options, dir, url string) ([]*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	own := func(c *contender, args ...string) error {
		return c.start(ctx, dir, func(address string) *exec.Cmd {
			return exec.Command(self, append(args, "-listen", address, "-database", url)...)
		})
	}
	fast, joined := &contender{name: "limit", limit: true}, &contender{name: "limit, one statement", limit: true, only: "nested"}
	std, byHand := &contender{name: "limit, net/http", limit: true}, &contender{name: "gqlgen by hand", path: "/graphql"}
	product := &contender{name: "countersign", path: "/graphql"}
	all := []*contender{fast, joined, std, byHand, product}
	err = errors.Join(own(fast, "limit", "-fast"), own(joined, "limit", "-fast", "-joined"), own(std, "limit"), own(byHand, "handwritten"))
	if err == nil {
		err = startCountersign(ctx, product, o.countersign, filepath.Join(dir, "config"), url, o.audited)
	}
	return all, err
}

func stopAll(contenders []*contender) {
	for _, c := range contenders {
		if c.process != nil {
			c.process.Stop()
		}
	}
}
