package limit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// A column is written under open, which holds its name and what stands before
// it.
type column struct {
	open    string
	integer bool
}

// The columns of each kind of object, in the order of their statement.
var (
	customer = []column{{`{"customerId":`, true}, {`,"firstName":`, false}, {`,"lastName":`, false}, {`,"email":`, false}, {`,"city":`, false}, {`,"country":`, false}}
	event    = []column{{`{"eventId":`, true}, {`,"customerId":`, true}, {`,"kind":`, false}, {`,"status":`, false}, {`,"amountCents":`, true}, {`,"createdTs":`, true}}
	artist   = []column{{`{"artistId":`, true}, {`,"name":`, false}, {`,"country":`, false}}
	album    = []column{{`{"albumId":`, true}, {`,"title":`, false}, {`,"releaseYear":`, true}}
	track    = []column{{`{"trackId":`, true}, {`,"name":`, false}, {`,"milliseconds":`, true}}
)

// members appends the members of an object, which stays open.
func members(b []byte, columns []column, values [][]byte) []byte {
	for i := range columns {
		b = append(b, columns[i].open...)
		if columns[i].integer {
			b = strconv.AppendInt(b, int64(int32(binary.BigEndian.Uint32(values[i]))), 10)
		} else {
			b = quoted(b, values[i])
		}
	}
	return b
}

func quoted(b, s []byte) []byte {
	b = append(b, '"')
	start := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
		start = i + 1
	}
	return append(append(b, s[start:]...), '"')
}

// object appends the one row, or null.
func object(b []byte, rows *pgconn.ResultReader, columns []column) ([]byte, error) {
	found := false
	for rows.NextRow() {
		found = true
		b = append(members(b, columns, rows.Values()), '}')
	}
	if !found {
		b = append(b, "null"...)
	}
	_, err := rows.Close()
	return b, err
}

// list appends all rows.
func list(b []byte, rows *pgconn.ResultReader, columns []column) ([]byte, error) {
	b = append(b, '[')
	for n := 0; rows.NextRow(); n++ {
		if n > 0 {
			b = append(b, ',')
		}
		b = append(members(b, columns, rows.Values()), '}')
	}
	_, err := rows.Close()
	return append(b, ']'), err
}

// nestedByLevel asks one statement per level, each for all keys of the one
// above, and merges the answers, which have the same order.
func nestedByLevel(ctx context.Context, c *pgconn.PgConn, b, offset []byte) ([]byte, error) {
	artists := run(ctx, c, "artists", offset).Read()
	albums := run(ctx, c, "albums", keys(artists.Rows, 0)).Read()
	tracks := run(ctx, c, "tracks", keys(albums.Rows, 1)).Read()
	if err := errors.Join(artists.Err, albums.Err, tracks.Err); err != nil {
		return b, err
	}
	x, y := 0, 0
	b = append(b, '[')
	for i, a := range artists.Rows {
		b = separated(b, i)
		b = append(members(b, artist, a), `,"albums":[`...)
		for j := 0; x < len(albums.Rows) && bytes.Equal(albums.Rows[x][0], a[0]); x, j = x+1, j+1 {
			al := albums.Rows[x]
			b = separated(b, j)
			b = append(members(b, album, al[1:]), `,"tracks":[`...)
			for k := 0; y < len(tracks.Rows) && bytes.Equal(tracks.Rows[y][0], al[1]); y, k = y+1, k+1 {
				b = separated(b, k)
				b = append(members(b, track, tracks.Rows[y][1:]), '}')
			}
			b = append(b, ']', '}')
		}
		b = append(b, ']', '}')
	}
	return append(b, ']'), nil
}

func separated(b []byte, position int) []byte {
	if position > 0 {
		return append(b, ',')
	}
	return b
}

// keys makes an array of integers of a column.
func keys(rows [][][]byte, col int) []byte {
	const oidInt4 = 23
	b := make([]byte, 0, 20+8*len(rows))
	// Dimensions, whether there are nulls, type, length, lower bound.
	for _, n := range []int{1, 0, oidInt4, len(rows), 1} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	for _, r := range rows {
		b = append(binary.BigEndian.AppendUint32(b, 4), r[col]...)
	}
	return b
}

// nestedJoined writes the rows of one statement, which repeat what is above
// them.
func nestedJoined(b []byte, rows *pgconn.ResultReader) ([]byte, error) {
	var a, al [4]byte
	artists, albums, tracks := 0, 0, 0
	b = append(b, '[')
	for rows.NextRow() {
		v := rows.Values()
		if artists == 0 || !bytes.Equal(v[0], a[:]) {
			if artists > 0 {
				b = closing(b, albums)
			}
			b = append(members(separated(b, artists), artist, v), `,"albums":[`...)
			copy(a[:], v[0])
			artists, albums = artists+1, 0
		}
		if v[3] == nil {
			continue
		}
		if albums == 0 || !bytes.Equal(v[3], al[:]) {
			if albums > 0 {
				b = append(b, ']', '}')
			}
			b = append(members(separated(b, albums), album, v[3:]), `,"tracks":[`...)
			copy(al[:], v[3])
			albums, tracks = albums+1, 0
		}
		if v[6] != nil {
			b = append(members(separated(b, tracks), track, v[6:]), '}')
			tracks++
		}
	}
	if artists > 0 {
		b = closing(b, albums)
	}
	_, err := rows.Close()
	return append(b, ']'), err
}

// closing ends an artist, and its last album where it has one.
func closing(b []byte, albums int) []byte {
	if albums > 0 {
		b = append(b, ']', '}')
	}
	return append(b, ']', '}')
}
