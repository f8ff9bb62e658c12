package sql

import (
	"context"
	stdsql "database/sql"
	"net"
	"sync"
	"time"
)

// A liteConn is a connection with its prepared statements. It is used by one
// goroutine at a time.
type liteConn struct {
	conn       *stdsql.Conn
	born       time.Time
	statements lru[*stdsql.Stmt]
}

// liteConnAge is how long a connection is used. A file that was put in the place
// of another is seen then; an open one would be read for ever.
const liteConnAge = time.Minute

// A litePool bounds and keeps the connections of a file. database/sql would
// keep connections too, but hands out prepared statements only by its own
// choice of connection, and so waits for a second one inside a transaction.
type litePool struct {
	db     *stdsql.DB // keeps none
	slots  chan struct{}
	mu     sync.Mutex
	idle   []*liteConn
	closed chan struct{}
	once   sync.Once
}

func newLitePool(db *stdsql.DB, size int) *litePool {
	return &litePool{db: db, slots: make(chan struct{}, size), closed: make(chan struct{})}
}

// acquire waits for a connection until ctx ends.
func (p *litePool) acquire(ctx context.Context) (*liteConn, error) {
	select {
	case <-p.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	conn, err := p.db.Conn(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return &liteConn{conn: conn, born: time.Now()}, nil
}

// release gives a connection back; one that failed or is old is closed.
func (p *litePool) release(c *liteConn, failed bool) {
	if failed || time.Since(c.born) > liteConnAge {
		_ = c.conn.Close()
	} else {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	}
	<-p.slots
}

// close waits for the connections in use, and closes all. It may be called more
// than once.
func (p *litePool) close() (err error) {
	p.once.Do(func() { err = p.end() })
	return err
}

func (p *litePool) end() error {
	close(p.closed)
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.conn.Close()
	}
	p.idle = nil
	return p.db.Close()
}

// prepared finds or prepares a statement.
func (c *liteConn) prepared(ctx context.Context, text string) (*stdsql.Stmt, error) {
	if s, ok := c.statements.get(text); ok {
		return s, nil
	}
	for c.statements.len() >= preparedMax {
		old, s := c.statements.oldest()
		c.statements.drop(old)
		_ = s.Close()
	}
	s, err := c.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	c.statements.add(text, s)
	return s, nil
}
