package handwritten

import (
	"context"
	"time"

	"github.com/graph-gophers/dataloader/v7"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/bench/handwritten/model"
)

// A batch is asked for after this long, or when it is full. The library's own
// default of 16 ms would be the whole latency.
const (
	batchWait = time.Millisecond
	batchMax  = 1000
)

type loadersKey struct{}

// loaders batch the relations of one request.
type loaders struct {
	albums *dataloader.Loader[int, []model.Album]
	tracks *dataloader.Loader[int, []model.Track]
}

func loadersOf(ctx context.Context) *loaders { return ctx.Value(loadersKey{}).(*loaders) }

func newLoaders(pool *pgxpool.Pool) *loaders {
	return &loaders{
		albums: children(func(ctx context.Context, keys []int) ([]model.Album, error) {
			return all(ctx, pool, `select album_id, artist_id, title, release_year from album where artist_id = any($1) order by album_id`,
				func(r pgx.Rows, a *model.Album) error {
					return r.Scan(&a.AlbumID, &a.ArtistID, &a.Title, &a.ReleaseYear)
				}, keys)
		}, func(a model.Album) int { return a.ArtistID }),
		tracks: children(func(ctx context.Context, keys []int) ([]model.Track, error) {
			return all(ctx, pool, `select track_id, album_id, name, milliseconds from track where album_id = any($1) order by track_id`,
				func(r pgx.Rows, t *model.Track) error {
					return r.Scan(&t.TrackID, &t.AlbumID, &t.Name, &t.Milliseconds)
				}, keys)
		}, func(t model.Track) int { return t.AlbumID }),
	}
}

// children loads the records that belong to a parent, of many parents at once.
func children[T any](load func(ctx context.Context, keys []int) ([]T, error), parent func(T) int) *dataloader.Loader[int, []T] {
	return dataloader.NewBatchedLoader(func(ctx context.Context, keys []int) []*dataloader.Result[[]T] {
		records, err := load(ctx, keys)
		byParent := make(map[int][]T, len(keys))
		for _, r := range records {
			byParent[parent(r)] = append(byParent[parent(r)], r)
		}
		out := make([]*dataloader.Result[[]T], len(keys))
		for i, k := range keys {
			out[i] = &dataloader.Result[[]T]{Data: byParent[k], Error: err}
		}
		return out
	}, dataloader.WithWait[int, []T](batchWait), dataloader.WithBatchCapacity[int, []T](batchMax))
}
