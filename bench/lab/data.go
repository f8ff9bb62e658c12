//go:build linux

package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What the tables hold. Every value is computed from the row's number, so that
// two runs have the same data.
const (
	Artists   = 300
	Albums    = 3_000 // ten of each artist
	Customers = 5_000
	// Events is how many there are unless asked otherwise.
	Events = 1_000_000
)

// number is a deterministic integer from 0 to 2³¹−1.
const number = `create function number(n bigint, salt int) returns int language sql immutable parallel safe as
	$$ select (hashint8extended(n, salt) & 2147483647)::int $$`

var tables = []string{
	`create table artist (artist_id int primary key, name text not null, country text not null,
		formed_year int not null, genre text not null, active boolean not null)`,
	`create table album (album_id int primary key, artist_id int not null references artist,
		title text not null, release_year int not null, label text not null)`,
	`create table track (track_id int primary key, album_id int not null references album,
		name text not null, milliseconds int not null, bytes int not null, composer text)`,
	`create table customer (customer_id int primary key, first_name text not null, last_name text not null,
		email text not null, city text not null, country text not null, phone text not null)`,
	// The largest table gets its indexes when it is full: that takes a third of
	// the time.
	`create table event (event_id int not null, customer_id int not null,
		kind text not null, status text not null, amount_cents int not null, created_ts int not null, device int not null)`,
}

const countries = `(array['DE','FR','US','GB','JP','BR','SE','NG','IN','PL'])`

var rows = []string{
	`insert into artist select i, 'Artist ' || substr(md5(i::text), 1, 10), ` + countries + `[1 + number(i, 1) % 10],
		1950 + number(i, 2) % 70, (array['rock','jazz','pop','folk','metal','house'])[1 + number(i, 3) % 6], number(i, 4) % 5 <> 0
		from generate_series(1, $artists) i`,
	`insert into album select i, 1 + (i - 1) / 10, 'Album ' || substr(md5('al' || i), 1, 14), 1960 + number(i, 5) % 60,
		'Label ' || (1 + number(i, 6) % 40) from generate_series(1, $albums) i`,
	// Eleven or twelve tracks of each album, about 35,000 in all; the quotes make
	// their names need escaping in JSON.
	`insert into track select row_number() over (order by a, t), a, 'Track "' || substr(md5(a || '-' || t), 1, 16) || '"',
		90000 + number(a * 100 + t, 7) % 300000, 1000000 + number(a * 100 + t, 8) % 9000000,
		case when number(a * 100 + t, 9) % 4 = 0 then null else 'Composer ' || number(a * 100 + t, 9) % 500 end
		from generate_series(1, $albums) a cross join lateral generate_series(1, 11 + number(a, 10) % 2) t`,
	`insert into customer select i, 'First' || number(i, 11) % 900, 'Last' || number(i, 12) % 4000, 'c' || i || '@example.test',
		'City ' || number(i, 13) % 300, ` + countries + `[1 + number(i, 14) % 10], '+49' || number(i, 19)
		from generate_series(1, $customers) i`,
	`insert into event select i, 1 + number(i, 15) % $customers,
		(array['order','refund','visit','login','export','import','note','call'])[1 + number(i, 16) % 8],
		(array['new','paid','open','void','late'])[1 + number(i, 17) % 5], number(i, 18) % 100000, 1600000000 + i * 31, number(i, 20)
		from generate_series(1, $events) i`,
	`alter table event add primary key (event_id)`,
	`create index on event (customer_id, event_id)`,
	`alter table event add foreign key (customer_id) references customer`,
	`create index on album (artist_id)`,
	`create index on track (album_id)`,
	`vacuum (analyze)`,
}

// Fill makes the tables with their data in an empty database.
func Fill(ctx context.Context, url string, events int) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	statements := append(append([]string{number}, tables...), rows...)
	for _, s := range statements {
		for name, n := range map[string]int{"$artists": Artists, "$albums": Albums, "$customers": Customers, "$events": events} {
			s = strings.ReplaceAll(s, name, strconv.Itoa(n))
		}
		if _, err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%w in: %s", err, s)
		}
	}
	return nil
}
