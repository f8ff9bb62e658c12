// Package model holds the plain structs of the hand-written server. It must not
// know GraphQL or the database.
package model

// A Customer is one record.
type Customer struct {
	CustomerID                                int
	FirstName, LastName, Email, City, Country string
}

// An Event is one record.
type Event struct {
	EventID, CustomerID, AmountCents, CreatedTs int
	Kind, Status                                string
}

// An Artist has albums.
type Artist struct {
	ArtistID      int
	Name, Country string
}

// An Album belongs to an artist and has tracks.
type Album struct {
	AlbumID, ArtistID, ReleaseYear int
	Title                          string
}

// A Track belongs to an album.
type Track struct {
	TrackID, AlbumID, Milliseconds int
	Name                           string
}
