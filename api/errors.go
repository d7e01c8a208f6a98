package api

import (
	"errors"
	"runtime/debug"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"github.com/holdfast/holdfast/api/fair"
	"github.com/holdfast/holdfast/api/identity"
	"github.com/holdfast/holdfast/api/live"
	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
)

// failure is what one error is answered with.
type failure struct {
	err     error
	status  int
	code    string
	message string
}

// body is the answer's, as JSON. The texts are this file's: none needs an escape.
func (f *failure) body(b []byte) []byte {
	b = append(append(b, `{"error":"`...), f.message...)
	return append(append(append(b, `","code":"`...), f.code...), `"}`...)
}

var (
	errUserNotFound    = errors.New("user not found")
	errContentType     = errors.New("content type is not application/json")
	errContentEncoding = errors.New("body has a content encoding")
	errForbiddenOrigin = errors.New("origin is not allowed")
)

// failures maps each error to its one answer; the first that matches counts, and
// what nearly all get in a sale comes first. What is not here answer knows, or it
// is internal.
var failures = []failure{
	{engine.ErrOutOfStock, 400, "out_of_stock", "Out of stock"},
	{fair.ErrTooManyRequests, 429, "rate_limited", "Too many requests"},
	{engine.ErrNotStarted, 409, "not_started", "Drop has not started"},
	{engine.ErrEnded, 409, "ended", "Drop has ended"},
	{engine.ErrExhausted, 409, "ended", "Drop has ended"},
	{engine.ErrPaused, 409, "paused", "Drop is paused"},
	{engine.ErrLimitReached, 409, "limit_reached", "Limit per customer reached"},
	{engine.ErrAlreadyStarted, 409, "already_started", "Drop has started"},
	{engine.ErrNotEnough, 409, "not_enough_available", "Not as many units are available"},
	{engine.ErrNotCounted, 409, "limit_not_counted", "Units were taken while the drop had no limit"},
	{engine.ErrExpired, 410, "reservation_expired", "Reservation expired"},
	{engine.ErrCancelled, 410, "reservation_cancelled", "Reservation cancelled"},
	{engine.ErrCompleted, 409, "reservation_completed", "Reservation already purchased"},
	{engine.ErrIdempotencyConflict, 422, "idempotency_conflict", "Idempotency-Key was used for another request"},
	{engine.ErrDropNotFound, 404, "drop_not_found", "Drop not found"},
	{engine.ErrReservationNotFound, 404, "reservation_not_found", "Reservation not found"},
	{errUnauthenticated, 401, "unauthenticated", "A Bearer token is required"},
	{identity.ErrInvalid, 401, "invalid_token", "Token is not valid"},
	{identity.ErrExpired, 401, "invalid_token", "Token has expired"},
	{errForbidden, 403, "forbidden", "Only the admin may do this"},
	{errUserMismatch, 403, "user_mismatch", "userId is not the user of the token"},
	{errUserNotFound, 404, "user_not_found", "User not found"},
	{errDeliveryNotFound, 404, "delivery_not_found", "Delivery not found"},
	{errContentType, 415, "unsupported_media_type", "Content-Type must be application/json"},
	{errContentEncoding, 415, "unsupported_media_type", "Content-Encoding is not supported"},
	{errForbiddenOrigin, 403, "forbidden_origin", "Origin is not allowed"},
	{live.ErrTooMany, 429, "too_many_sockets", "Too many live connections from this address"},
	{engine.ErrTooManyHolds, 409, "too_many_holds", "Too many units held at once"},
	{engine.ErrCoolingDown, 429, "cooling_down", "Too many holds were let lapse"},
	{engine.ErrChallengeRequired, 403, "challenge_required", "Challenge required"},
	{fair.ErrChallengeFailed, 403, "challenge_failed", "Challenge failed"},
	{fair.ErrVerifierDown, 503, "unavailable", "Temporarily unavailable"},
	{fair.ErrVerifierBusy, 503, "overloaded", "Too busy"},
	{live.ErrFull, 503, "overloaded", "Too busy"},
	{engine.ErrOverloaded, 503, "overloaded", "Too busy"},
	{engine.ErrFenced, 503, "unavailable", "Temporarily unavailable"},
	{engine.ErrUnavailable, 503, "unavailable", "Temporarily unavailable"},
	{persist.ErrUnavailable, 503, "unavailable", "Temporarily unavailable"},
	{identity.ErrUnavailable, 503, "unavailable", "Temporarily unavailable"},
}

// failureOf is the table's answer to an error; nil: it has none.
func failureOf(err error) *failure {
	for i := range failures {
		if errors.Is(err, failures[i].err) {
			return &failures[i]
		}
	}
	return nil
}

// errorBody is the form of every error.
type errorBody struct {
	Error     string `json:"error"`
	Code      string `json:"code"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// retryAfterSeconds is what a client is asked to wait after a 503: fail-overs
// and restarts take about as long.
const retryAfterSeconds = 1

// fail is fiber's error handler: it answers err by the table.
func (a *API) fail(c *fiber.Ctx, err error) error {
	if len(c.Response().Header.Peek(fiber.HeaderXRequestID)) == 0 {
		a.requestIDs.name(c) // fiber refused it before any handler saw it
	}
	if f := failureOf(err); f != nil {
		switch f.status {
		case fiber.StatusServiceUnavailable:
			c.Set(fiber.HeaderRetryAfter, strconv.Itoa(retryAfterSeconds))
		case fiber.StatusTooManyRequests:
			tellWhen(c, err)
		}
		challenge(c, f.code)
		var room [128]byte
		return sendJSON(c, f.status, f.body(room[:0]))
	}
	status, body := a.answer(c, err)
	if status == fiber.StatusRequestEntityTooLarge || status == fiber.StatusRequestHeaderFieldsTooLarge {
		linger(c.Context().Conn())
	}
	return c.Status(status).JSON(body)
}

// answer is what an error that is not in the table is answered with.
func (a *API) answer(c *fiber.Ctx, err error) (int, errorBody) {
	if c := (*complaint)(nil); errors.As(err, &c) {
		return 400, errorBody{Error: c.Error(), Code: "invalid_request", Field: c.field}
	}
	switch {
	case errors.Is(err, live.ErrDrops):
		return 400, errorBody{Error: err.Error(), Code: "invalid_request", Field: "drops"}
	case errors.Is(err, engine.ErrSizeRequired):
		return 400, errorBody{Error: "size is required for this drop", Code: "invalid_request", Field: "size"}
	case errors.Is(err, engine.ErrBadTimes):
		return 400, errorBody{Error: "end_time must be after start_time and now", Code: "invalid_request", Field: "end_time"}
	case errors.Is(err, persist.ErrTooMuch):
		return 400, errorBody{Error: "stock must come to at most " + strconv.Itoa(engine.MaxStock), Code: "invalid_request", Field: "stock"}
	case errors.Is(err, engine.ErrUnknownSize):
		return 400, errorBody{Error: "size is not one of this drop", Code: "invalid_request", Field: "size"}
	}
	if f := (*fiber.Error)(nil); errors.As(err, &f) {
		switch {
		case f.Code == fiber.StatusNotFound:
			return f.Code, errorBody{Error: "Route not found", Code: "not_found"}
		case f.Code == fiber.StatusMethodNotAllowed:
			return f.Code, errorBody{Error: "Method not allowed", Code: "method_not_allowed"}
		case f.Code == fiber.StatusRequestEntityTooLarge:
			return f.Code, errorBody{Error: "Request body too large", Code: "body_too_large"}
		case f.Code == fiber.StatusUpgradeRequired:
			c.Set(fiber.HeaderUpgrade, "websocket")
			return f.Code, errorBody{Error: "WebSocket handshake expected", Code: "upgrade_required"}
		case f.Code < 500 || f.Code == fiber.StatusBadGateway: // the latter: the client hung up in the middle of a request
			// Never the error's own text, which quotes the request's headers.
			message := "Malformed request"
			switch f.Code {
			case fiber.StatusRequestTimeout:
				message = "Request timeout"
			case fiber.StatusRequestHeaderFieldsTooLarge:
				message = "Request headers too large"
			}
			return f.Code, errorBody{Error: message, Code: "invalid_request", Field: "request"}
		}
	}
	id := a.requestIDs.of(c)
	a.log.Error("internal error", "request_id", id, "method", c.Route().Method, "route", c.Route().Path, "err", err)
	return 500, errorBody{Error: "Internal error", Code: "internal_error", RequestID: id}
}

// logPanic keeps what led to a panic, which is then answered as an internal
// error.
func (a *API) logPanic(c *fiber.Ctx, cause any) {
	a.log.Error("panic", "request_id", a.requestIDs.of(c), "method", c.Route().Method, "route", c.Route().Path, "cause", cause, "stack", string(debug.Stack()))
}
