package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// posts are the calls that take a body.
var posts = []string{"/api/drops/create", "/api/drops/reserve", "/api/drops/purchase", "/api/drops/cancel", "/api/users"}

// valid are bodies that only name what does not exist, or would be written.
var valid = map[string]string{
	"/api/drops/create":   `{"name":"n","price":1,"total_stock":2,"start_time":"2026-11-23T18:00:00Z"}`,
	"/api/drops/reserve":  `{"dropId":1,"userName":"ada"}`,
	"/api/drops/purchase": `{"reservationId":1}`,
	"/api/drops/cancel":   `{"reservationId":1}`,
	"/api/users":          `{"username":"ada"}`,
}

// setField is the body of the call with a field set to raw JSON, in place or added.
func setField(path, field, raw string) string {
	var out []string
	for member := range strings.SplitSeq(strings.Trim(valid[path], "{}"), `,"`) {
		if member = `"` + strings.TrimPrefix(member, `"`); !strings.HasPrefix(member, `"`+field+`":`) {
			out = append(out, member)
		}
	}
	return "{" + strings.Join(append(out, `"`+field+`":`+raw), ",") + "}"
}

// Values that are wrong for every field of a kind.
var (
	notNumbers = []string{`"1"`, `""`, `true`, `[]`, `[1]`, `{}`, `{"a":1}`, `NaN`, `Infinity`, `-Infinity`, `+1`, `.5`, `1.`, `tru`}
	notIDs     = append([]string{
		`-1`, `0`, `-0`, `01`, `0x10`, `1.5`, `1.0`, `1e3`, `1e400`, `9007199254740992`, `9223372036854775808`, `123456789012345678901234567890`,
	}, notNumbers...)
	notOptionalTexts = []string{`1`, `true`, `[]`, `["a"]`, `{}`, `"a\u0000b"`, "\"a\x00b\"", "\"a\xffb\"", `"a\ud800b"`, `"\u0007"`, `"a\nb"`, `"` + strings.Repeat("a", 10_000) + `"`}
	notTexts         = append([]string{`""`, `"  "`}, notOptionalTexts...)
	notTimes         = append([]string{
		`"1969-12-31T23:59:59Z"`, `"1970-01-01T00:00:00Z"`, `"2026-11-23"`, `"2026-11-23T18:00:00"`, `"2026-11-23 18:00:00Z"`, `"18:00"`, `"now"`, `"2026-13-01T00:00:00Z"`,
		`"2026-02-30T00:00:00Z"`, `"2026-11-23T25:00:00Z"`, `"Mon, 23 Nov 2026 18:00:00 GMT"`, `"1790000000"`, `"10000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59-01:00"`, `"1970-01-01T00:00:00+01:00"`, `"0000-00-00T00:00:00Z"`,
	}, notTexts...)
	notPrices = append([]string{
		`-1`, `-0.01`, `-0`, `1.005`, `0.001`, `180.001`, `1e2`, `1E-2`, `1000000000.01`, `1000000001`, `9007199254740992`, `1e400`, `99999999999999999999`,
	}, notNumbers...)
	notEmails = append([]string{`"ada"`, `"@"`, `"ada@"`, `"@example.com"`, `"a da@example.com"`, `"` + strings.Repeat("a", 250) + `@b.cd"`}, notOptionalTexts...)
)

func TestBadFields(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.drop(t, nil)
	const create, reserve, users = "/api/drops/create", "/api/drops/reserve", "/api/users"
	s.leavesNoTrace(t, func() {
		for _, row := range []struct {
			path, field string
			values      []string
		}{
			{create, "name", append([]string{`"` + strings.Repeat("a", 201) + `"`}, notTexts...)},
			{create, "price", notPrices},
			{create, "total_stock", append([]string{`16777217`}, notIDs...)},
			{create, "start_time", notTimes},
			{create, "end_time", append([]string{`"2026-11-23T18:00:00Z"`, `"2026-11-23T17:59:59.999Z"`}, notTimes...)},
			{create, "hold_seconds", append([]string{`0`, `-1`, `0.249`, `86400.1`, `1e400`, `1e-400`}, notNumbers...)},
			{create, "limit_per_customer", notIDs},
			{create, "image_url", append([]string{`"javascript:alert(1)"`, `"a.jpg"`, `"http://"`, `"/"`, `"ftp://a/b"`, `"/` + strings.Repeat("a", 2048) + `"`}, notTexts...)},
			{create, "sizes", []string{
				`1`, `"42"`, `{}`, `[]`, `true`, `[{"size":"42","stock":1}]`, `[{"size":"42","stock":3}]`,
				`[` + strings.Repeat(`{"size":"a","stock":1},`, 3) + `]`,
			}},
			{reserve, "dropId", append([]string{`16777216`, `null`}, notIDs...)},
			{reserve, "userName", append([]string{`"` + strings.Repeat("a", 65) + `"`}, notOptionalTexts...)},
			{reserve, "email", notEmails},
			{reserve, "size", append([]string{`"` + strings.Repeat("a", 33) + `"`}, notOptionalTexts...)},
			{"/api/drops/purchase", "reservationId", append([]string{`null`}, notIDs...)},
			{"/api/drops/cancel", "reservationId", append([]string{`null`}, notIDs...)},
			{users, "username", append([]string{`null`, `"` + strings.Repeat("a", 65) + `"`}, notTexts...)},
			{users, "email", notEmails},
		} {
			for _, value := range row.values {
				r := s.postRaw(t, row.path, setField(row.path, row.field, value))
				if field, _ := r.body["field"].(string); r.status != 400 || !strings.HasPrefix(field, row.field) {
					t.Errorf("%s %s %.60s: answer %d %s", row.path, row.field, value, r.status, r.raw)
				}
			}
		}
		for _, value := range notIDs {
			s.postRaw(t, reserve, `{"dropId":1,"userId":`+value+`}`).invalid(t, "userId")
		}
		for path, body := range valid {
			for member := range strings.SplitSeq(strings.Trim(body, "{}"), `,"`) {
				field := strings.Trim(strings.SplitN(member, ":", 2)[0], `"`)
				null := s.postRaw(t, path, setField(path, field, "null"))
				if path == reserve && field == "userName" {
					null.invalid(t, "userId") // as nobody is named
				} else {
					null.invalid(t, field)
				}
			}
			s.postRaw(t, path, setField(path, "unknown", `1`)).invalid(t, "unknown")
			s.postRaw(t, path, setField(path, "__proto__", `{}`)).invalid(t, "__proto__")
			s.postRaw(t, path, setField(path, strings.Repeat("x", 10_000), `1`)).invalid(t, strings.Repeat("x", 40)+"…")
			s.postRaw(t, path, setField(path, "", `1`)).invalid(t, `""`)
		}
	})
}

func TestMissingFields(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.leavesNoTrace(t, func() {
		for _, row := range []struct{ path, body, field string }{
			{"/api/drops/create", `{"price":1,"total_stock":1,"start_time":"2026-11-23T18:00:00Z"}`, "name"},
			{"/api/drops/create", `{"name":"n","total_stock":1,"start_time":"2026-11-23T18:00:00Z"}`, "price"},
			{"/api/drops/create", `{"name":"n","price":1,"start_time":"2026-11-23T18:00:00Z"}`, "total_stock"},
			{"/api/drops/create", `{"name":"n","price":1,"total_stock":1}`, "start_time"},
			{"/api/drops/create", `{}`, "name"},
			{"/api/drops/reserve", `{}`, "dropId"},
			{"/api/drops/reserve", `{"userId":1}`, "dropId"},
			{"/api/drops/reserve", `{"dropId":1}`, "userId"},
			{"/api/drops/reserve", `{"dropId":1,"email":"a@b.c"}`, "userName"},
			{"/api/drops/reserve", `{"dropId":1,"userName":"","email":"","size":""}`, "userId"},
			{"/api/drops/reserve", `{"dropId":1,"userName":" \t"}`, "userId"},
			{"/api/drops/reserve", `{"dropId":1,"userName":" ","email":"a@b.c"}`, "userName"},
			{"/api/drops/reserve", `{"dropId":1,"userId":1,"userName":"a"}`, "userName"},
			{"/api/drops/reserve", `{"dropId":1,"userId":1,"email":"a@b.c"}`, "email"},
			{"/api/drops/purchase", `{}`, "reservationId"},
			{"/api/drops/cancel", `{}`, "reservationId"},
			{"/api/users", `{}`, "username"},
			{"/api/users", `{"email":"a@b.c"}`, "username"},
			{"/api/users", `{"username":" ","email":""}`, "username"},
		} {
			s.postRaw(t, row.path, row.body).invalid(t, row.field)
		}
	})
}

func TestBadSizes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, `{"size":"%d","stock":1},`, i)
	}
	s.leavesNoTrace(t, func() {
		for sizes, field := range map[string]string{
			`[1]`:                                "sizes[0]",
			`[null]`:                             "sizes[0]",
			`[[]]`:                               "sizes[0]",
			`[{}]`:                               "sizes[0].size",
			`[{"size":"42"}]`:                    "sizes[0].stock",
			`[{"stock":1}]`:                      "sizes[0].size",
			`[{"size":42,"stock":1}]`:            "sizes[0].size",
			`[{"size":"","stock":1}]`:            "sizes[0].size",
			`[{"size":"a","stock":0}]`:           "sizes[0].stock",
			`[{"size":"a","stock":1.5}]`:         "sizes[0].stock",
			`[{"size":"a","stock":16777217}]`:    "sizes[0].stock",
			`[{"size":"a","stock":1,"x":1}]`:     "sizes[0].x",
			`[{"size":"a","stock":1,"stock":2}]`: "sizes[0].stock",
			`[{"size":"a","stock":1},{"size":"a","stock":1}]`:            "sizes[1].size",
			`[{"size":"a","stock":1},{"size":" a ","stock":1}]`:          "sizes[1].size",
			`[{"size":"a","stock":16777216},{"size":"b","stock":1}]`:     "sizes",
			`[{"size":"` + strings.Repeat("a", 33) + `","stock":1}]`:     "sizes[0].size",
			`[` + strings.TrimSuffix(many.String(), ",") + `]`:           "sizes",
			`[{"size":"a","stock":1},{"size":"b","stock":2},{"size":3}]`: "sizes[2].size",
		} {
			body := setField("/api/drops/create", "total_stock", "null")
			s.postRaw(t, "/api/drops/create", strings.TrimSuffix(body, "}")+`,"sizes":`+sizes+"}").invalid(t, field)
		}
	})
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.leavesNoTrace(t, func() {
		for _, path := range posts {
			body := valid[path]
			first := strings.Trim(strings.SplitN(body, ":", 2)[0], `{"`)
			for text, field := range map[string]string{
				"":                       "body",
				" ":                      "body",
				"null":                   "body",
				"1":                      "body",
				`"x"`:                    "body",
				"[]":                     "body",
				"[" + body + "]":         "body",
				"{":                      "body",
				"}":                      "body",
				"{]":                     "body",
				`{"`:                     "body",
				"{,}":                    "body",
				body[:len(body)-1]:       "body",
				body + body:              "body",
				body + "x":               "body",
				body + "\x00":            "body",
				"\ufeff" + body:          "body",
				"\x00" + body:            "body",
				`{'a':1}`:                "body",
				"<xml/>":                 "body",
				"a=1&b=2":                "body",
				`{"` + first + `":}`:     first,
				`{"` + first + `" 1}`:    first,
				`{"` + first + `":tru}`:  first,
				"{\"\xff\":1}":           "body",
				strings.Repeat("[", 8e3): "body",
				`{"` + first + `":` + strings.Repeat("[", 8e3) + strings.Repeat("]", 8e3) + `}`:           first,
				`{"` + first + `":` + strings.Repeat(`{"a":`, 2e3) + `1` + strings.Repeat("}", 2e3) + `}`: first,
				strings.TrimSuffix(body, "}") + "," + strings.TrimPrefix(body, "{"):                       first,
			} {
				r := s.postRaw(t, path, text)
				if got, _ := r.body["field"].(string); r.status != 400 || got != field {
					t.Errorf("%s %.80q: answer %d %.200s, want field %s", path, text, r.status, r.raw, field)
				}
			}
		}
	})
}

func TestBadPathsAndQueries(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, id := range []string{"x", "1.5", "1e3", "0x1", "1,2", "%00", "%31", "é", "NaN", "--1", strings.Repeat("a", 5000), "%ff"} {
		for _, path := range []string{"/api/drops/", "/api/reservations/", "/api/users/"} {
			s.get(t, path+id).invalid(t, "id")
		}
	}
	for _, value := range []string{"0", "-1", "1.5", "x", "1001", "99999999999999999999", "%00", "1%202", "NaN", "null", "[]"} {
		s.get(t, "/api/drops?limit="+value).invalid(t, "limit")
	}
	for _, value := range []string{"0", "-1", "1.5", "x", "16777216", "99999999999999999999"} {
		s.get(t, "/api/drops?before="+value).invalid(t, "before")
	}
	for _, keys := range [][]string{{strings.Repeat("k", 129)}, {"é"}, {"a\tb"}, {""}, {"  "}, {"k", "k"}, {"k", ""}, {"", "k"}} {
		s.do(t, http.MethodPost, "/api/drops/reserve", valid["/api/drops/reserve"], http.Header{
			"Content-Type": {"application/json"}, "Idempotency-Key": keys,
		}).invalid(t, "Idempotency-Key")
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.leavesNoTrace(t, func() {
		for _, path := range posts {
			for _, size := range []int{16<<10 + 1, 100 << 10, 1 << 20, 3 << 20} {
				body := `{"name":"` + strings.Repeat("a", size) + `"}`
				s.postRaw(t, path, body).refused(t, 413, "body_too_large", "Request body too large")
				s.postRaw(t, path, body, "Expect", "100-continue").refused(t, 413, "body_too_large", "Request body too large")
				s.chunked(t, path, body).refused(t, 413, "body_too_large", "Request body too large")
			}
		}
	})
	fits := valid["/api/users"] + strings.Repeat(" ", 16<<10-len(valid["/api/users"]))
	s.postRaw(t, "/api/users", fits).want(t, 201)
	s.postRaw(t, "/api/users", fits+" ").want(t, 413)

	// Headers have a limit of their own.
	s.get(t, "/healthz").want(t, 200)
	s.postRaw(t, "/nowhere", "{}", "X-Large", strings.Repeat("a", 9<<10)).want(t, 431)
}

// chunked posts a body whose length is not told.
func (c *client) chunked(t *testing.T, path, body string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+path, io.MultiReader(strings.NewReader(body)))
	must(t, err)
	request.Header.Set("Content-Type", "application/json")
	return c.send(t, request)
}
