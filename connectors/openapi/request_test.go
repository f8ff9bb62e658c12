package openapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/openapi"
)

const echoDocument = `
openapi: 3.0.3
info: {title: t, version: "1"}
paths:
  /files/{name}/of/{id}:
    post:
      operationId: echo
      parameters:
        - {name: name, in: path, required: true, schema: {type: string}}
        - {name: id, in: path, required: true, schema: {type: array, items: {type: integer}}}
        - {name: "q[]", in: query, schema: {type: array, items: {type: string}}}
        - {name: csv, in: query, explode: false, schema: {type: array, items: {type: string}}}
        - {name: pipes, in: query, style: pipeDelimited, explode: false, schema: {type: array, items: {type: string}}}
        - {name: deep, in: query, style: deepObject, schema: {type: object, properties: {a: {type: string}, b: {type: number}}}}
        - {name: X-Note, in: header, schema: {type: string}}
      requestBody: {content: {application/x-www-form-urlencoded: {schema: {type: object, properties: {amount: {type: integer, format: int64}, meta: {type: object, properties: {k: {type: string}}}, tags: {type: array, items: {type: string}}}}}}}
      responses: {200: {description: ok, content: {text/plain: {schema: {type: string}}}}}
  /typed:
    post:
      operationId: typed
      requestBody: {content: {application/json: {schema: {type: object, properties: {big: {type: integer, format: int64}, dec: {type: number, format: decimal}, text: {type: string, format: decimal}, at: {type: string, format: date-time}, any: {}, o: {type: object, properties: {n: {type: integer, format: int64}, r: {type: string, readOnly: true}}}, l: {type: array, items: {type: string, format: uuid}}}}}}}
      responses: {200: {description: ok, content: {text/plain: {schema: {type: string}}}}}
  /whole:
    post:
      operationId: whole
      requestBody: {required: true, content: {application/json: {schema: {type: array, items: {type: integer}}}}}
      responses: {204: {description: ok}}
`

// echo answers with the request as it came.
func echo(t *testing.T) *openapi.Source {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, r.RequestURI+" "+r.Header.Get("X-Note")+" "+string(body))
	}))
	src, err := openapi.Open(openapi.Config{SpecData: []byte(echoDocument), BaseURL: web.URL + "/v1/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close(); web.Close() })
	return src
}

func call(src *openapi.Source, function string, args ...connectors.Member) (string, error) {
	effect, err := src.Apply(context.Background(), nil, change(connectors.Step{Kind: connectors.Call, Function: function, Args: connectors.ObjectOf(args...)}))
	if err != nil {
		return "", err
	}
	if effect.Steps[0].Result == nil {
		return "", nil
	}
	v, err := connectors.ParseCell(effect.Steps[0].Result, connectors.ScalarString)
	return v.Text, err
}

func texts(list ...string) connectors.Value {
	var items []connectors.Value
	for _, s := range list {
		items = append(items, connectors.String(s))
	}
	return connectors.ListOf(items...)
}

func TestWhereArgumentsGo(t *testing.T) {
	src := echo(t)
	got, err := call(src, "echo",
		connectors.Member{Name: "name", Value: connectors.String("a/b?c#d %2F{id}")},
		connectors.Member{Name: "id", Value: connectors.ListOf(connectors.Int(1), connectors.Int(2))},
		connectors.Member{Name: "q[]", Value: texts("x&y", "z")}, connectors.Member{Name: "csv", Value: texts("a,b", "c")},
		connectors.Member{Name: "pipes", Value: texts("a", "b")},
		connectors.Member{Name: "deep", Value: connectors.ObjectOf(connectors.Member{Name: "b", Value: connectors.Decimal("1.50")}, connectors.Member{Name: "a", Value: connectors.String("=")})},
		connectors.Member{Name: "X-Note", Value: connectors.String("hello")},
		connectors.Member{Name: "amount", Value: connectors.Int(9007199254740993)},
		connectors.Member{Name: "meta", Value: connectors.Value{Kind: connectors.KindJSON, Text: `{"k":"v&w"}`}},
		connectors.Member{Name: "tags", Value: texts("t1", "t2")})
	want := "/v1/files/a%2Fb%3Fc%23d%20%252F%7Bid%7D/of/1,2?q%5B%5D=x%26y&q%5B%5D=z&csv=a%2Cb,c&pipes=a%7Cb&deep%5Ba%5D=%3D&deep%5Bb%5D=1.50 hello " +
		"amount=9007199254740993&meta%5Bk%5D=v%26w&tags=t1&tags=t2"
	if err != nil || got != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
}

func TestBodiesKeepEveryDigit(t *testing.T) {
	src := echo(t)
	got, err := call(src, "typed",
		connectors.Member{Name: "big", Value: connectors.Int(9007199254740993)}, connectors.Member{Name: "dec", Value: connectors.Decimal("10.10")},
		connectors.Member{Name: "text", Value: connectors.Decimal("10.10")}, connectors.Member{Name: "at", Value: connectors.Null},
		connectors.Member{Name: "any", Value: connectors.Value{Kind: connectors.KindJSON, Text: `{"z":1.0,"a":[]}`}},
		connectors.Member{Name: "o", Value: connectors.Value{Kind: connectors.KindJSON, Text: `{"n":"9007199254740993"}`}})
	if want := `/v1/typed  {"big":9007199254740993,"dec":10.10,"text":"10.10","at":null,"any":{"z":1.0,"a":[]},"o":{"n":9007199254740993}}`; err != nil || got != want {
		t.Errorf("%v\n%s, want\n%s", err, got, want)
	}
}

func TestArgumentsThatCannotBeSent(t *testing.T) {
	src := echo(t)
	id := connectors.Member{Name: "id", Value: connectors.ListOf(connectors.Int(1))}
	name := connectors.Member{Name: "name", Value: connectors.String("n")}
	with := func(n string, v connectors.Value) []connectors.Member {
		return []connectors.Member{name, id, {Name: n, Value: v}}
	}
	for what, x := range map[string]struct {
		function string
		args     []connectors.Member
	}{
		"nothing in a path":      {"echo", []connectors.Member{{Name: "name", Value: connectors.String("")}, id}},
		"a way out of the path":  {"echo", []connectors.Member{{Name: "name", Value: connectors.String("..")}, id}},
		"no id":                  {"echo", []connectors.Member{name}},
		"an empty list of ids":   {"echo", []connectors.Member{name, {Name: "id", Value: connectors.ListOf()}}},
		"a header of two lines":  {"echo", with("X-Note", connectors.String("a\nB: c"))},
		"a null in a list":       {"echo", with("csv", connectors.ListOf(connectors.Null))},
		"no list":                {"echo", with("csv", connectors.String("a"))},
		"an unknown member":      {"echo", with("deep", connectors.ObjectOf(connectors.Member{Name: "c", Value: connectors.Int(1)}))},
		"an unknown argument":    {"echo", with("more", connectors.Int(1))},
		"a fraction":             {"echo", with("amount", connectors.Decimal("1.5"))},
		"a full-width digit":     {"typed", []connectors.Member{{Name: "text", Value: connectors.Decimal("１０")}}},
		"an exponent":            {"typed", []connectors.Member{{Name: "text", Value: connectors.Decimal("1e3")}}},
		"not a number":           {"typed", []connectors.Member{{Name: "dec", Value: connectors.Decimal("NaN")}}},
		"no time":                {"typed", []connectors.Member{{Name: "at", Value: connectors.String("yesterday")}}},
		"a read-only member":     {"typed", []connectors.Member{{Name: "o", Value: connectors.ObjectOf(connectors.Member{Name: "r", Value: connectors.String("x")})}}},
		"JSON that is none":      {"typed", []connectors.Member{{Name: "any", Value: connectors.Value{Kind: connectors.KindJSON, Text: `{"a"`}}}},
		"JSON nested too deep":   {"typed", []connectors.Member{{Name: "any", Value: connectors.Value{Kind: connectors.KindJSON, Text: strings.Repeat("[", 99) + strings.Repeat("]", 99)}}}},
		"no body where needed":   {"whole", nil},
		"text in a list of ints": {"whole", []connectors.Member{{Name: "body", Value: texts("x")}}},
	} {
		got, err := call(src, x.function, x.args...)
		if code := connectors.CodeOf(err); code != connectors.CodeValidationFailed && code != connectors.CodeBadInput {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	if _, err := call(src, "whole", connectors.Member{Name: "body", Value: connectors.ListOf(connectors.Int(1))}); err != nil {
		t.Errorf("a whole body: %v", err)
	}
}
