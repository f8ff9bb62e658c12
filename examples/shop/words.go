package shop

import (
	"strings"
)

// A productLine is what products of one kind are made from; prices in whole
// euros.
type productLine struct {
	code, category, thing string
	styles                []string
	from, to              int
}

func productLines() []productLine {
	home := []string{"Nordic", "Linen", "Oak", "Slate", "Classic", "Compact", "Studio"}
	gear := []string{"Light", "Trail", "Alpine", "City", "Pro", "Touring", "Weekend"}
	return []productLine{
		{"LMP", "Lighting", "Desk Lamp", home, 29, 140},
		{"CHR", "Furniture", "Chair", home, 79, 420},
		{"TBL", "Furniture", "Side Table", home, 59, 310},
		{"MUG", "Kitchen", "Mug Set", home, 12, 48},
		{"KNF", "Kitchen", "Kitchen Knife", home, 19, 160},
		{"PAN", "Kitchen", "Cast Iron Pan", home, 35, 130},
		{"BAG", "Bags", "Backpack", gear, 45, 220},
		{"JKT", "Clothing", "Rain Jacket", gear, 69, 290},
		{"SHO", "Shoes", "Hiking Shoes", gear, 79, 240},
		{"TNT", "Outdoor", "Two-Person Tent", gear, 120, 520},
		{"BTL", "Outdoor", "Steel Bottle", gear, 14, 42},
		{"BKL", "Cycling", "Bike Light", gear, 18, 95},
		{"HLM", "Cycling", "Helmet", gear, 39, 190},
		{"HDP", "Audio", "Headphones", []string{"Quiet", "Studio", "Air", "Wired", "Travel"}, 39, 340},
		{"SPK", "Audio", "Bluetooth Speaker", []string{"Pocket", "Garden", "Shelf", "Party"}, 29, 260},
		{"NTB", "Stationery", "Notebook", []string{"Dotted", "Ruled", "Plain", "Recycled"}, 6, 28},
		{"PEN", "Stationery", "Fountain Pen", []string{"Brass", "Black", "Walnut", "Steel"}, 18, 180},
		{"BLK", "Home Textiles", "Wool Blanket", home, 49, 190},
		{"TWL", "Home Textiles", "Towel Set", home, 22, 90},
		{"PLT", "Garden", "Plant Pot", []string{"Clay", "Stone", "Zinc", "White"}, 9, 75},
	}
}

func seriesNames() []string {
	return []string{"Aro", "Birka", "Caldo", "Duna", "Elin", "Fjord", "Gala", "Hamra", "Isla", "Juno", "Kara", "Lund",
		"Mira", "Nova", "Orla", "Pico", "Rana", "Sola", "Tarn", "Vega"}
}

// A place is a country with what its people and streets are called.
type place struct {
	country, dial         string
	firstNames, lastNames []string
	streets               []string // %d is the house number
	cities                []city
}

// A city has a postal code, in which # is any digit.
type city struct{ name, postal string }

func (c city) code(f *filler) string {
	out := []byte(c.postal)
	for i := range out {
		if out[i] == '#' {
			out[i] = byte('0' + f.rng.IntN(10))
		}
	}
	return string(out)
}

// placeDeck says how often each place is drawn.
func placeDeck() []int { return []int{0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 5} }

func words(s string) []string { return strings.Fields(s) }

func places() []place {
	return []place{
		{"DE", "+49", words("Anna Lena Jonas Felix Mia Paul Sophie Lukas Marie Jan Katharina Tobias Greta Moritz Hannah Emil Clara Nils Jürgen Birgit Heike Aylin Mehmet Selin"),
			words("Müller Schmidt Schneider Fischer Weber Wagner Becker Hoffmann Schulz Koch Richter Klein Wolf Neumann Schwarz Krüger Hartmann Lange Vogel Yılmaz Kaya Brandt"),
			[]string{"Lindenstraße %d", "Hauptstraße %d", "Am Markt %d", "Goethestraße %d", "Bahnhofstraße %d", "Gartenweg %d"},
			[]city{{"Berlin", "10###"}, {"Hamburg", "20###"}, {"München", "80###"}, {"Köln", "50###"}, {"Leipzig", "041##"}, {"Freiburg", "791##"}}},
		{"FR", "+33", words("Camille Louis Chloé Hugo Léa Jules Manon Arthur Inès Gabriel Élise Antoine Margaux Théo Nadia Karim"),
			words("Martin Bernard Dubois Thomas Robert Petit Durand Leroy Moreau Simon Laurent Lefèvre Roux Girard Bonnet Mercier"),
			[]string{"%d rue de la République", "%d avenue Victor Hugo", "%d rue des Lilas", "%d boulevard Voltaire"},
			[]city{{"Paris", "750##"}, {"Lyon", "6900#"}, {"Nantes", "44000"}, {"Lille", "59000"}, {"Toulouse", "31000"}}},
		{"NL", "+31", words("Daan Emma Sem Julia Lotte Bram Sanne Thijs Femke Ruben Anouk Jeroen Fleur Maarten Yara Noor"),
			words("Jansen Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Brouwer Bakker Kuipers Willems"),
			[]string{"Kerkstraat %d", "Dorpsstraat %d", "Molenweg %d", "Prinsengracht %d"},
			[]city{{"Amsterdam", "10## AB"}, {"Utrecht", "35## CD"}, {"Rotterdam", "30## EF"}, {"Eindhoven", "56## GH"}}},
		{"ES", "+34", words("Lucía Hugo Martina Mateo Paula Daniel Carmen Álvaro Elena Javier Nuria Diego"),
			words("García Fernández González López Martínez Sánchez Pérez Gómez Ruiz Navarro Torres Domínguez"),
			[]string{"Calle Mayor %d", "Calle del Sol %d", "Avenida de la Constitución %d"},
			[]city{{"Madrid", "280##"}, {"Barcelona", "080##"}, {"Valencia", "460##"}, {"Sevilla", "410##"}}},
		{"SE", "+46", words("Alma Oskar Elsa Axel Maja Viktor Saga Erik Astrid Björn Linnea Nils"),
			words("Andersson Johansson Karlsson Nilsson Eriksson Larsson Olsson Persson Lindqvist Bergström Sandberg Öberg"),
			[]string{"Storgatan %d", "Kungsgatan %d", "Skolvägen %d"},
			[]city{{"Stockholm", "11# ##"}, {"Göteborg", "41# ##"}, {"Malmö", "21# ##"}, {"Uppsala", "75# ##"}}},
		{"GB", "+44", words("Olivia George Amelia Harry Isla Jack Freya Oliver Grace Samuel Priya Arjun Zoe Callum Niamh Ewan"),
			words("Smith Jones Taylor Brown Williams Wilson Evans Thomas Walker Wright Hughes Green Patel Campbell Murray Ellis"),
			[]string{"%d High Street", "%d Station Road", "%d Mill Lane", "%d Church Street"},
			[]city{{"London", "N1# 4AB"}, {"Bristol", "BS# 2CD"}, {"Leeds", "LS# 6EF"}, {"Glasgow", "G1# 8GH"}, {"Cardiff", "CF1# 1JK"}}},
	}
}

// ascii writes a name as it stands in an e-mail address.
func ascii(name string) string {
	r := strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "é", "e", "É", "e", "è", "e", "í", "i", "á", "a",
		"Á", "a", "ó", "o", "ı", "i", "Ö", "oe")
	return strings.ToLower(r.Replace(name))
}
