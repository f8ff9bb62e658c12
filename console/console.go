// Package console is what people see: the inbox of proposals, the explorer and
// the sign-in pages, as static files in the program. The pages are clients of
// the graph like any other, over the session's cookie.
//
// It must not know anything of the graph's insides, of policy or of proposals:
// it serves files.
package console

import (
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assets embed.FS

// policy lets the pages load from here and from nowhere else: no inline script,
// no frame, no form to another place.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

var pages = map[string]string{
	"/":         "inbox.html",
	"/explorer": "explorer.html",
	"/sign-in":  "sign-in.html",
	"/device":   "device.html",
}

// Handler serves the pages and their assets, for GET and HEAD.
func Handler() (http.Handler, error) {
	root, err := fs.Sub(assets, "assets")
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		name, isPage := pages[r.URL.Path]
		if !isPage {
			var ok bool
			if name, ok = strings.CutPrefix(r.URL.Path, "/assets/"); !ok {
				http.NotFound(w, r)
				return
			}
		}
		serve(w, r, root, name, isPage)
	}), nil
}

func serve(w http.ResponseWriter, r *http.Request, root fs.FS, name string, isPage bool) {
	data, err := fs.ReadFile(root, path.Clean(name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	// Vendored files carry their version in the name; our own change with the program.
	if !isPage && strings.HasPrefix(name, "vendor/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	if r.Method == http.MethodHead {
		return
	}
	// An error here is a client that went away.
	w.Write(data)
}
