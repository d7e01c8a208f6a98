package engine

// Ids are integers below 2^53, so that JavaScript holds them exactly:
//
//	drop (24 bits) | lane (4 bits) | seq (25 bits)
//
// An id alone names its keys. The lane is 0 today; it is reserved for
// splitting one very hot drop over several partitions. A purchase has the id
// of its reservation.
const (
	seqBits  = 25
	laneBits = 4

	maxSeq = 1<<seqBits - 1

	// MaxHolds is how many reservations a drop has ids for.
	MaxHolds = maxSeq

	// MaxID is the greatest reservation id.
	MaxID = MaxDropID<<(laneBits+seqBits) | (1<<(laneBits+seqBits) - 1)
)

// ReservationID is the id of the hold with the given sequence number.
func ReservationID(drop, seq int64) int64 { return drop<<(laneBits+seqBits) | seq }

// DropOf is the drop a reservation id belongs to.
func DropOf(id int64) int64 { return id >> (laneBits + seqBits) }

// seqOf is the sequence number within the drop, the lane included: an id of
// another lane names a hold that does not exist.
func seqOf(id int64) int64 { return id & (1<<(laneBits+seqBits) - 1) }
