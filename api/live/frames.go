package live

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/holdfast/holdfast/engine"
)

// The JSON of the frames, as docs/LIVE.md has it.

type snapshotData struct {
	ServerTime string         `json:"server_time"`
	Drops      []snapshotDrop `json:"drops"`
}

type snapshotDrop struct {
	ID int64 `json:"id"`
	counts
}

type timeData struct {
	ServerTime string `json:"server_time"`
}

type stockData struct {
	DropID int64 `json:"dropId"`
	counts
	Reason string `json:"reason,omitempty"`
}

type counts struct {
	State          engine.State `json:"state"`
	TotalStock     int64        `json:"total_stock"`
	AvailableStock int64        `json:"available_stock"`
	Held           int64        `json:"held"`
	Sold           int64        `json:"sold"`
	Version        int64        `json:"version"`
	Sizes          []sizeCounts `json:"sizes"`
}

type sizeCounts struct {
	Size           string `json:"size"`
	Stock          int64  `json:"stock"`
	AvailableStock int64  `json:"available_stock"`
	Held           int64  `json:"held"`
	Sold           int64  `json:"sold"`
}

type saleData struct {
	DropID     int64 `json:"dropId"`
	UserID     int64 `json:"userId"`
	PurchaseID int64 `json:"purchaseId"`
}

// saleFrame is what /ws carries of it.
type saleFrame struct {
	saleData
	Version int64 `json:"version"`
}

type salesFrame struct {
	DropID  int64 `json:"dropId"`
	Count   int   `json:"count"`
	Version int64 `json:"version"`
}

func countsOf(s engine.Stock) counts {
	c := counts{
		State: s.State, TotalStock: s.Total, AvailableStock: s.Available, Held: s.Held, Sold: s.Sold,
		Version: s.Version, Sizes: []sizeCounts{},
	}
	if len(s.Sizes) == 1 && s.Sizes[0].Size == "" {
		return c
	}
	for _, z := range s.Sizes {
		c.Sizes = append(c.Sizes, sizeCounts{z.Size, z.Total, z.Available, z.Held, z.Sold})
	}
	return c
}

// reasonOf is the reason as it is told; empty where it is not known.
func reasonOf(r engine.Reason) string {
	if r == engine.ReasonOpened {
		return "restocked"
	}
	return string(r)
}

const stampForm = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(stampForm) }

// appendEvent appends a WebSocket text frame {"event":name,"data":data} to buf.
func appendEvent(buf []byte, name string, data any) []byte {
	text, err := json.Marshal(struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{name, data})
	if err != nil { // of the types above and the API's own drop: it cannot be
		panic(err)
	}
	return appendFrame(buf, opText, text)
}

// Opcodes of WebSocket frames (RFC 6455, section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

// appendFrame appends one whole, unmasked frame, as a server sends it. Frames
// are built here and not by the WebSocket library so that all of a round go to
// a connection in one write.
func appendFrame(buf []byte, opcode byte, payload []byte) []byte {
	const final = 0x80
	buf = append(buf, final|opcode)
	switch n := len(payload); {
	case n < 126:
		buf = append(buf, byte(n))
	case n < 1<<16:
		buf = binary.BigEndian.AppendUint16(append(buf, 126), uint16(n))
	default:
		buf = binary.BigEndian.AppendUint64(append(buf, 127), uint64(n))
	}
	return append(buf, payload...)
}

// Close codes: of RFC 6455, section 7.4, and one of our own.
const (
	closeGoingAway = 1001
	closePolicy    = 1008
	closeSlow      = 4008
)

// closeFrame is a close frame. Its payload is at most 125 bytes.
func closeFrame(code uint16, reason string) []byte {
	return appendFrame(nil, opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}
