// Package limit is the physical limit: what is left of answering the scenarios
// when there is no GraphQL, no identity and no permission. The scenario is told
// by the path, the statements are written by hand and prepared once per
// connection, rows come in binary and their JSON is written as they come.
//
// It must not know any of the servers that are compared with it.
package limit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/valyala/fasthttp"
)

// statements by name. The nested scenario has two forms: one statement per
// level, and one for all.
var statements = map[string]string{
	"point":   `select customer_id, first_name, last_name, email, city, country from customer where customer_id = $1`,
	"list":    `select event_id, customer_id, kind, status, amount_cents, created_ts from event where customer_id = $1 order by event_id desc limit 50`,
	"artists": `select artist_id, name, country from artist order by artist_id limit 10 offset $1`,
	"albums":  `select artist_id, album_id, title, release_year from album where artist_id = any($1) order by artist_id, album_id`,
	"tracks":  `select album_id, track_id, name, milliseconds from track where album_id = any($1) order by album_id, track_id`,
	"joined": `select a.artist_id, a.name, a.country, b.album_id, b.title, b.release_year, t.track_id, t.name, t.milliseconds
		from (select * from artist order by artist_id limit 10 offset $1) a left join album b using (artist_id) left join track t using (album_id)
		order by a.artist_id, b.album_id, t.track_id`,
	"update": `update customer set city = $2 where customer_id = $1 returning customer_id, first_name, last_name, email, city, country`,
}

// Connections is how many connections to the database each contender may have.
const Connections = 16

// A Server answers the scenarios. Its methods may be called concurrently.
type Server struct {
	pool *pgxpool.Pool
	// joined answers the nested scenario by one statement.
	joined  bool
	buffers sync.Pool
}

// New makes a server on the database. joined chooses one statement for all
// levels of the nested scenario.
func New(ctx context.Context, url string, joined bool) (*Server, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = Connections
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		for name, text := range statements {
			if _, err := c.PgConn().Prepare(ctx, name, text, nil); err != nil {
				return err
			}
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Server{pool: pool, joined: joined, buffers: sync.Pool{New: func() any { b := make([]byte, 0, 128<<10); return &b }}}, nil
}

// Close ends its connections.
func (s *Server) Close() { s.pool.Close() }

// ServeHTTP answers with net/http.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	buf := s.buffers.Get().(*[]byte)
	b := (*buf)[:0]
	if err == nil {
		b, err = s.answer(r.Context(), r.URL.Path[1:], body, b)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header()["Content-Type"] = jsonType
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.Write(b)
	*buf = b
	s.buffers.Put(buf)
}

var jsonType = []string{"application/json"}

// Fast answers with fasthttp.
func (s *Server) Fast(c *fasthttp.RequestCtx) {
	buf := s.buffers.Get().(*[]byte)
	b, err := s.answer(context.Background(), string(c.Path()[1:]), c.PostBody(), (*buf)[:0])
	if err != nil {
		c.Error(err.Error(), fasthttp.StatusInternalServerError)
		return
	}
	c.SetContentType("application/json")
	c.SetBody(b)
	*buf = b
	s.buffers.Put(buf)
}

// answer appends the answer to a scenario.
func (s *Server) answer(ctx context.Context, scenario string, body, b []byte) ([]byte, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return b, err
	}
	defer conn.Release()
	c := conn.Conn().PgConn()
	b = append(b, `{"data":{`...)
	switch scenario {
	case "point":
		b, err = object(append(b, `"customer":`...), run(ctx, c, "point", int4(integer(body, "id"))), customer)
	case "list":
		b, err = list(append(b, `"events":`...), run(ctx, c, "list", int4(integer(body, "customerId"))), event)
	case "update":
		b, err = object(append(b, `"updateCustomer":`...), run(ctx, c, "update", int4(integer(body, "id")), text(body, "city")), customer)
	case "nested":
		b = append(b, `"artists":`...)
		if s.joined {
			b, err = nestedJoined(b, run(ctx, c, "joined", int8(integer(body, "offset"))))
		} else {
			b, err = nestedByLevel(ctx, c, b, int8(integer(body, "offset")))
		}
	default:
		err = errors.New("no such scenario")
	}
	return append(b, '}', '}'), err
}

var binaryFormat = []int16{1}

// run sends a prepared statement; parameters and answer are binary.
func run(ctx context.Context, c *pgconn.PgConn, name string, args ...[]byte) *pgconn.ResultReader {
	return c.ExecPrepared(ctx, name, args, binaryFormat, binaryFormat)
}

// integer reads the number after a variable's name. The request is not parsed.
func integer(body []byte, name string) int {
	n := 0
	for _, c := range after(body, name) {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// text reads the string after a variable's name; it holds no escapes.
func text(body []byte, name string) []byte {
	rest := bytes.TrimPrefix(after(body, name), []byte{'"'})
	return rest[:max(0, bytes.IndexByte(rest, '"'))]
}

func after(body []byte, name string) []byte {
	i := bytes.LastIndex(body, []byte(`"`+name+`":`))
	if i < 0 {
		return nil
	}
	return body[i+len(name)+3:]
}

func int4(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
func int8(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
