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

	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"
)

const (
	// writeTimeout is how long one message may take to a client that reads slowly.
	writeTimeout = 10 * time.Second
	// closeTimeout is how long a client has to answer the close of a connection.
	closeTimeout = time.Second
)

// An acceptor accepts the WebSockets of one executor.
type acceptor struct{ exec *executor }

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
	return c, nil
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

// NextReader implements transport.WebsocketConn.
func (c *socketConn) NextReader() (int, io.Reader, error) {
	kind, data, err := c.conn.Read(context.Background())
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusNoStatusRcvd, websocket.StatusGoingAway:
		err = transport.ErrWebsocketClosed
	}
	if err != nil {
		return int(kind), nil, err
	}
	return int(kind), bytes.NewReader(data), nil
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
	if c.exec.revoked.Load() {
		code, reason = closeUnauthenticated, "the credential is not valid any more"
	}
	if !c.begins() {
		return nil
	}
	err := c.line.SetDeadline(time.Now().Add(closeTimeout))
	// Within its handler, which is counted.
	c.exec.g.open.Go(func() {
		// An error here is a client that went away.
		c.conn.Close(websocket.StatusCode(code), reason)
	})
	return err
}

// begins tells whether it is not being closed already.
func (c *socketConn) begins() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.closing
	c.closing = true
	c.disarm()
	return !was
}

// Close implements transport.WebsocketConn.
func (c *socketConn) Close() error {
	if !c.begins() {
		return nil // WriteClose does it
	}
	if err := c.conn.CloseNow(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Subprotocol implements transport.WebsocketConn.
func (c *socketConn) Subprotocol() string { return c.conn.Subprotocol() }

// SetReadLimit implements transport.WebsocketReadLimiter.
func (c *socketConn) SetReadLimit(limit int64) { c.conn.SetReadLimit(limit) }
