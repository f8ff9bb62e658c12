package gateway

import (
	"reflect"
	"testing"
)

// What the scan reads, encoding/json reads the same; what encoding/json refuses,
// the scan leaves to it.
func FuzzScanRequest(f *testing.F) {
	for _, text := range []string{
		`{"query":"{ a }"}`, `{"query":"query ($id: Int!) {\n\t a(id: $id) \"x\" }","variables":{"id":42},"operationName":null}`,
		` { "operationName" : "A" , "variables" : null , "query" : "äöü 日本" } `, `{}`, `{"query":"a","query":"b"}`,
		`{"query":"a","variables":{"a":[1,-2.5e+10,0,true,false,null,{"b":"c"},[]],"a":{}}}`, `{"Query":"x"}`, `{"query":"\u0041"}`,
		`{"query":"x","extensions":{}}`, `{"query":1}`, `{"query":"x","variables":{"n":01}}`, `{"query":"x","variables":{"n":1.}}`,
		`{"query":"x","variables":{"n":-}}`, `{"query":"x","variables":[1]}`, `{"query":"x"} x`, `[{"query":"x"}]`, "{\"query\":\"\xff\"}",
		"{\"query\":\"a\\q\"}", `{"query":"x","variables":{"a":tru}}`, `{"query":"x",}`, `null`, ``, `{"query":"a` + "\n" + `"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := new(Request)
		if !scanRequest(body, got) {
			return
		}
		want, errs := decodePost(body)
		if errs != nil {
			if got.Query == "" {
				return // refused for having no query, whoever reads it
			}
			t.Fatalf("%q: the scan reads %+v, the library refuses it: %v", body, got, errs)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: the scan reads %#v, the library %#v", body, got, want)
		}
	})
}

// The form that clients send is the one that is scanned.
func TestUsualRequestsAreScanned(t *testing.T) {
	for _, body := range []string{
		`{"query":"{ a }"}`,
		`{"query":"query ($id: Int!) {\n  a(id: $id) { b }\n}","variables":{"id":42,"tags":["a","b"],"in":{"x":1.5,"y":null,"z":true}},"operationName":"A"}`,
		`{"operationName":null,"variables":{},"query":"query A { a(name: \"Grüße\") }"}`,
	} {
		if !scanRequest([]byte(body), new(Request)) {
			t.Errorf("not scanned: %s", body)
		}
	}
}

func BenchmarkReadRequest(b *testing.B) {
	body := []byte(`{"query":"query Point($id: Int!) { customer(id: $id) { customerId firstName lastName email city country } }","variables":{"id":42}}`)
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !scanRequest(body, new(Request)) {
				b.Fatal("not scanned")
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errs := decodePost(body); errs != nil {
				b.Fatal(errs)
			}
		}
	})
}
