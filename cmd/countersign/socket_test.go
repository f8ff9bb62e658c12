package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// A socket speaks graphql-transport-ws.
type socket struct {
	conn *websocket.Conn
	ctx  context.Context
}

func tryDial(ctx context.Context, n *node, h http.Header) (*websocket.Conn, *http.Response) {
	conn, res, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(n.url, "http")+"/graphql", &websocket.DialOptions{HTTPHeader: h, Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		return nil, res
	}
	conn.SetReadLimit(1 << 20)
	return conn, res
}

func dial(t testing.TB, n *node, h http.Header) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	conn, res := tryDial(ctx, n, h)
	if conn == nil {
		cancel()
		t.Fatalf("dialling: %v", res)
	}
	t.Cleanup(func() {
		conn.CloseNow()
		cancel()
	})
	return &socket{conn: conn, ctx: ctx}
}

func (s *socket) write(t testing.TB, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.conn.Write(s.ctx, websocket.MessageText, raw); err != nil {
		t.Fatal(err)
	}
}

type message struct {
	ID, Type string
	Payload  json.RawMessage
}

// read is the next message that is no ping.
func (s *socket) read() (*message, error) {
	for {
		_, raw, err := s.conn.Read(s.ctx)
		if err != nil {
			return nil, err
		}
		m := &message{}
		if err := json.Unmarshal(raw, m); err != nil {
			return nil, err
		}
		switch m.Type {
		case "ping":
			if err := s.conn.Write(s.ctx, websocket.MessageText, []byte(`{"type":"pong"}`)); err != nil {
				return nil, err
			}
		case "pong":
		default:
			return m, nil
		}
	}
}

func (s *socket) next(t testing.TB, kind string) *message {
	t.Helper()
	m, err := s.read()
	if err != nil {
		t.Fatalf("waiting for %s: %v", kind, err)
	}
	if m.Type != kind {
		t.Fatalf("%s came, not %s: %s", m.Type, kind, m.Payload)
	}
	return m
}

func (s *socket) init(t testing.TB, payload any) {
	t.Helper()
	s.write(t, map[string]any{"type": "connection_init", "payload": payload})
	s.next(t, "connection_ack")
}

func (s *socket) subscribe(t testing.TB, id, query string) {
	t.Helper()
	s.write(t, map[string]any{"type": "subscribe", "id": id, "payload": map[string]any{"query": query}})
}

// data is the next result of a subscription.
func (s *socket) data(t testing.TB) *answer {
	t.Helper()
	m := s.next(t, "next")
	a := &answer{raw: string(m.Payload)}
	if err := json.Unmarshal(m.Payload, a); err != nil {
		t.Fatal(err)
	}
	return a
}

// of is the next message of one operation: others may be ending.
func (s *socket) of(t testing.TB, id string) *message {
	t.Helper()
	for {
		m, err := s.read()
		if err != nil {
			t.Fatalf("waiting for operation %s: %v", id, err)
		}
		if m.ID == id {
			return m
		}
	}
}

// ask runs one query to its end.
func (s *socket) ask(t testing.TB, id, query string) *answer {
	t.Helper()
	s.subscribe(t, id, query)
	m := s.of(t, id)
	a := &answer{raw: string(m.Payload)}
	if err := json.Unmarshal(m.Payload, a); err != nil {
		t.Fatalf("%s: %v", m.Type, err)
	}
	if end := s.of(t, id); end.Type != "complete" {
		t.Fatalf("%s came, not complete", end.Type)
	}
	return a
}

// closed waits until the server closes, and answers its code.
func (s *socket) closed(t testing.TB) int {
	t.Helper()
	for {
		if _, err := s.read(); err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				return int(closed.Code)
			}
			if errors.Is(err, io.EOF) {
				return 0
			}
			t.Fatalf("the connection: %v", err)
		}
	}
}
