// Package handwritten is what a good team would write for these tables alone:
// gqlgen with a static schema and a cache of parsed documents, pgx with its
// prepared statements, and a dataloader per relation and request. It knows who
// asks as little as the limit does: it checks no permission.
//
// It must not know Countersign.
package handwritten

import (
	"context"
	"errors"
	"net/http"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/bench/handwritten/generated"
	"github.com/countersign/countersign/bench/handwritten/model"
)

// connections is how many connections to the database it may have, and
// documents how many parsed documents it keeps.
const (
	connections = 16
	documents   = 1000
)

// A Server answers the scenarios. It is an http.Handler, safe for concurrent
// use.
type Server struct {
	pool    *pgxpool.Pool
	handler http.Handler
}

// New makes a server on the database.
func New(ctx context.Context, url string) (*Server, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h := handler.New(generated.NewExecutableSchema(generated.Config{Resolvers: root{pool}}))
	h.AddTransport(transport.POST{})
	h.SetQueryCache(lru.New[*ast.QueryDocument](documents))
	return &Server{pool: pool, handler: h}, nil
}

// Close ends its connections.
func (s *Server) Close() { s.pool.Close() }

// ServeHTTP gives the request loaders of its own.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loadersKey{}, newLoaders(s.pool))))
}

type root struct{ pool *pgxpool.Pool }

// Query implements generated.ResolverRoot.
func (r root) Query() generated.QueryResolver { return queries(r) }

// Mutation implements generated.ResolverRoot.
func (r root) Mutation() generated.MutationResolver { return mutations(r) }

// Artist implements generated.ResolverRoot.
func (r root) Artist() generated.ArtistResolver { return artists{} }

// Album implements generated.ResolverRoot.
func (r root) Album() generated.AlbumResolver { return albums{} }

type queries struct{ pool *pgxpool.Pool }

func (q queries) Customer(ctx context.Context, id int) (*model.Customer, error) {
	return customer(q.pool.QueryRow(ctx, `select `+customerColumns+` from customer where customer_id = $1`, id))
}

func (q queries) Events(ctx context.Context, customerID, first int) ([]model.Event, error) {
	return all(ctx, q.pool, `select event_id, customer_id, kind, status, amount_cents, created_ts
		from event where customer_id = $1 order by event_id desc limit $2`, func(r pgx.Rows, e *model.Event) error {
		return r.Scan(&e.EventID, &e.CustomerID, &e.Kind, &e.Status, &e.AmountCents, &e.CreatedTs)
	}, customerID, first)
}

func (q queries) Artists(ctx context.Context, first, offset int) ([]model.Artist, error) {
	return all(ctx, q.pool, `select artist_id, name, country from artist order by artist_id limit $1 offset $2`,
		func(r pgx.Rows, a *model.Artist) error { return r.Scan(&a.ArtistID, &a.Name, &a.Country) }, first, offset)
}

type mutations struct{ pool *pgxpool.Pool }

func (m mutations) UpdateCustomer(ctx context.Context, id int, city string) (*model.Customer, error) {
	return customer(m.pool.QueryRow(ctx, `update customer set city = $2 where customer_id = $1 returning `+customerColumns, id, city))
}

type artists struct{}

func (artists) Albums(ctx context.Context, a *model.Artist) ([]model.Album, error) {
	return loadersOf(ctx).albums.Load(ctx, a.ArtistID)()
}

type albums struct{}

func (albums) Tracks(ctx context.Context, a *model.Album) ([]model.Track, error) {
	return loadersOf(ctx).tracks.Load(ctx, a.AlbumID)()
}

const customerColumns = `customer_id, first_name, last_name, email, city, country`

func customer(row pgx.Row) (*model.Customer, error) {
	var c model.Customer
	err := row.Scan(&c.CustomerID, &c.FirstName, &c.LastName, &c.Email, &c.City, &c.Country)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &c, err
}

// all scans every row of a statement.
func all[T any](ctx context.Context, pool *pgxpool.Pool, statement string, scan func(pgx.Rows, *T) error, args ...any) ([]T, error) {
	rows, err := pool.Query(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []T{}
	for rows.Next() {
		var record T
		if err := scan(rows, &record); err != nil {
			return nil, err
		}
		out = append(out, record)
	}
	return out, rows.Err()
}
