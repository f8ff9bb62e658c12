// Package load sends prepared requests over a number of connections for a fixed
// time and counts the answers. Each connection sends its next request when it
// has the answer to the one before. Its client does as little as it can, so that
// the machine is the servers'.
//
// It must not know what is asked.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A Request is a POST, ready to be sent.
type Request []byte

// NewRequest prepares a POST of JSON. bearer may be empty.
func NewRequest(address, path, bearer string, body []byte) Request {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json\r\n", path, address)
	if bearer != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", bearer)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}

// A Result is what came of a run.
type Result struct {
	Requests int
	// Bad are answers with another status, without data, or shorter than asked.
	Bad      int
	Elapsed  time.Duration
	P50, P99 time.Duration
}

// Options of a run.
type Options struct {
	Address     string // host:port
	Requests    []Request
	Connections int
	Duration    time.Duration
	// MinBytes is how long a right answer is at least.
	MinBytes int
}

// Run sends requests until the time is over. It fails where a connection does.
func Run(ctx context.Context, o Options) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Duration)
	defer cancel()
	clients := make([]*client, o.Connections)
	for i := range clients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Address)
		if err != nil {
			return Result{}, err
		}
		defer conn.Close()
		clients[i] = &client{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	}
	errs := make([]error, len(clients))
	begun := time.Now()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			// Connections begin at different places of the list.
			errs[i] = c.run(ctx, &o, i*len(o.Requests)/len(clients))
		})
	}
	wg.Wait()
	out := Result{Elapsed: time.Since(begun)}
	var times []time.Duration
	for _, c := range clients {
		out.Bad += c.bad
		times = append(times, c.times...)
	}
	out.Requests = len(times)
	if slices.Sort(times); len(times) > 0 {
		out.P50, out.P99 = times[len(times)/2], times[len(times)*99/100]
	}
	return out, errors.Join(errs...)
}

// A client is one connection.
type client struct {
	conn  net.Conn
	r     *bufio.Reader
	bad   int
	times []time.Duration
}

func (c *client) run(ctx context.Context, o *Options, next int) error {
	for ctx.Err() == nil {
		begun := time.Now()
		if _, err := c.conn.Write(o.Requests[next%len(o.Requests)]); err != nil {
			return err
		}
		a, err := c.answer()
		if err != nil {
			return err
		}
		c.times = append(c.times, time.Since(begun))
		if !a.ok || a.size < o.MinBytes {
			c.bad++
		}
		next++
	}
	return nil
}

// Ask sends one request and returns the body of its answer.
func Ask(ctx context.Context, address string, r Request) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	if _, err := conn.Write(r); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	a, err := c.read(&body)
	if err == nil && a.status != 200 {
		err = fmt.Errorf("status %d: %.300s", a.status, body.Bytes())
	}
	return body.Bytes(), err
}

// An answer is what a run needs to know of one.
type answer struct {
	status, size int
	ok           bool
}

func (c *client) answer() (answer, error) { return c.read(nil) }

var (
	dataFirst       = []byte(`{"data":{"`)
	contentLength   = []byte("content-length:")
	transferChunked = []byte("transfer-encoding: chunked")
)

// read reads one answer; its body goes to into, where that is not nil.
func (c *client) read(into *bytes.Buffer) (answer, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	var a answer
	if len(line) < 12 {
		return a, fmt.Errorf("no HTTP answer: %q", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return a, fmt.Errorf("no HTTP answer: %q", line)
	}
	length, chunked := 0, false
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return a, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			return c.body(a, length, chunked, into)
		case len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return a, err
			}
		case bytes.EqualFold(line, transferChunked):
			chunked = true
		}
	}
}

func (c *client) body(a answer, length int, chunked bool, into *bytes.Buffer) (answer, error) {
	if !chunked {
		return a, c.part(&a, length, into)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return a, err
		}
		if err := c.part(&a, int(n), into); err != nil {
			return a, err
		}
		if _, err := c.r.ReadSlice('\n'); err != nil || n == 0 {
			return a, err
		}
	}
}

// part reads n bytes of the body.
func (c *client) part(a *answer, n int, into *bytes.Buffer) error {
	if a.size == 0 && n >= len(dataFirst) {
		head, err := c.r.Peek(len(dataFirst))
		if err != nil {
			return err
		}
		a.ok = a.status == 200 && bytes.Equal(head, dataFirst)
	}
	a.size += n
	if into == nil {
		_, err := c.r.Discard(n)
		return err
	}
	for n > 0 {
		head, err := c.r.Peek(min(n, c.r.Size()))
		into.Write(head)
		if _, derr := c.r.Discard(len(head)); derr != nil {
			return derr
		}
		if n -= len(head); err != nil {
			return err
		}
	}
	return nil
}
