package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"

	"github.com/countersign/countersign/connectors"
)

const (
	// writeTimeout is how long one message may take to a client that reads slowly.
	writeTimeout = 10 * time.Second
	// closeTimeout is how long a client has to answer the close of a connection.
	closeTimeout = time.Second
)

// An acceptor accepts the WebSockets of one executor.
type acceptor struct {
	exec *executor
	conn *socketConn // what was accepted
}

// Accept implements transport.WebsocketImplementation. The origin was checked
// where it matters, before.
func (a *acceptor) Accept(w http.ResponseWriter, r *http.Request, o transport.WebsocketAcceptOptions) (transport.WebsocketConn, error) {
	kept := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(kept, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: o.Subprotocols})
	if err != nil {
		return nil, err
	}
	c := &socketConn{conn: conn, line: kept.line, exec: a.exec}
	// Who has not even begun to speak is not waited for.
	c.disarm = context.AfterFunc(a.exec.g.closing, func() {
		// An error here is a connection that is gone.
		c.line.SetDeadline(time.Now().Add(closeTimeout))
	})
	a.conn = c
	return c, nil
}

// end closes what was accepted, where the library has not begun to: it does so
// by a goroutine that it does not wait for, or, after a beginning it cannot
// read, not at all.
func (a *acceptor) end() {
	if a.conn != nil {
		// An error here is a connection that is gone.
		a.conn.WriteClose(int(websocket.StatusNormalClosure), "terminated")
	}
}

// hijacked keeps the connection under a WebSocket: only that can be told to be
// done in time.
type hijacked struct {
	http.ResponseWriter
	line net.Conn
}

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.line = conn
	return conn, rw, err
}

// A socketConn is one WebSocket as the library's transport wants it. All it
// starts is waited for by the gateway's Close.
type socketConn struct {
	conn *websocket.Conn
	line net.Conn
	exec *executor
	// disarm ends what the end of the gateway would do to it.
	disarm func() bool

	mu      sync.Mutex
	closing bool
}

// NextReader implements transport.WebsocketConn. The library gets whole messages
// only: what it would read as something else than was sent, or could not say
// what is wrong with, is answered here.
func (c *socketConn) NextReader() (int, io.Reader, error) {
	for {
		kind, data, err := c.conn.Read(context.Background())
		switch websocket.CloseStatus(err) {
		case websocket.StatusNormalClosure, websocket.StatusNoStatusRcvd, websocket.StatusGoingAway:
			err = transport.ErrWebsocketClosed
		}
		if err != nil {
			return int(kind), nil, err
		}
		pass, err := c.vet(data)
		if err != nil {
			return int(kind), nil, err
		}
		if pass {
			return int(kind), bytes.NewReader(data), nil
		}
	}
}

// closeInvalid is graphql-transport-ws's code for a message that is none.
const closeInvalid = 4400

// vet looks at a message before the library does. Without an error and not to
// be passed on, it was answered.
func (c *socketConn) vet(data []byte) (pass bool, err error) {
	if !utf8.Valid(data) {
		return false, c.refuse(int(websocket.StatusInvalidFramePayloadData), "the message is not UTF-8")
	}
	var m struct {
		ID      string          `json:"id"`
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if json.Unmarshal(data, &m) != nil {
		return false, c.refuse(closeInvalid, "the message is no JSON object")
	}
	errs := whole("the message", data)
	switch m.Type {
	case "subscribe", "start": // the second is of the older protocol
		if c.exec.principal == nil {
			return true, nil // the library closes who did not begin
		}
		if errs == nil {
			_, errs = decodeRequest(m.Payload)
		}
		if errs == nil {
			return true, nil
		}
		return false, c.WriteJSON(map[string]any{"id": m.ID, "type": "error", "payload": c.exec.list(errs)})
	case "connection_init", "ping", "pong", "complete", "stop", "connection_terminate":
		if errs == nil {
			return true, nil
		}
	}
	return false, c.refuse(closeInvalid, "the message is none of the protocol")
}

// refuse closes the connection.
func (c *socketConn) refuse(code int, reason string) error {
	// An error here is a connection that is gone.
	c.WriteClose(code, reason)
	return transport.ErrWebsocketClosed
}

// WriteJSON implements transport.WebsocketConn. Who does not read is cut off.
func (c *socketConn) WriteJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, data)
}

// WriteClose implements transport.WebsocketConn: it closes with the code that is
// true, and does not wait for the client.
func (c *socketConn) WriteClose(code int, reason string) error {
	if refused := c.exec.ended.Load(); refused != nil {
		code, reason = closeUnauthenticated, "the credential is not valid any more"
		if *refused == connectors.CodeSuspended || *refused == connectors.CodeForbidden {
			code, reason = closeSuspended, string(*refused)
		}
	}
	if !c.begins() {
		return nil
	}
	err := c.line.SetDeadline(time.Now().Add(closeTimeout))
	go func() {
		defer c.exec.g.open.Done()
		// An error here is a client that went away.
		c.conn.Close(websocket.StatusCode(code), reason)
	}()
	return err
}

// begins tells whether it is not being closed already. If so whoever asks closes
// it, and is counted: its handler, which is too, calls this before it ends.
func (c *socketConn) begins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.closing = true
	c.disarm()
	c.exec.g.open.Add(1)
	return true
}

// Close implements transport.WebsocketConn.
func (c *socketConn) Close() error {
	if !c.begins() {
		return nil // WriteClose does it
	}
	defer c.exec.g.open.Done()
	if err := c.conn.CloseNow(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Subprotocol implements transport.WebsocketConn.
func (c *socketConn) Subprotocol() string { return c.conn.Subprotocol() }

// SetReadLimit implements transport.WebsocketReadLimiter.
func (c *socketConn) SetReadLimit(limit int64) { c.conn.SetReadLimit(limit) }
