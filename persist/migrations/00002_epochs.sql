-- +goose Up

-- The epoch of each partition of Redis. epoch is raised before a partition is
-- compared with the tables here, so that from then on writers of the epoch
-- before commit nothing; admitted follows once Redis serves it.
CREATE TABLE epochs (
    partition integer PRIMARY KEY,
    epoch     bigint NOT NULL,
    admitted  bigint NOT NULL DEFAULT 0,
    raised_at timestamptz NOT NULL DEFAULT now()
);

-- Fails unless the partition is in the epoch. The lock makes a change of the
-- epoch wait for the transactions that were let in.
-- +goose StatementBegin
CREATE FUNCTION require_epoch(p integer, e bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM epochs WHERE partition = p AND epoch = e FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'partition % is not in epoch %', p, e USING ERRCODE = 'HF001';
    END IF;
END
$$;
-- +goose StatementEnd

-- Sequence numbers up to here may have been handed out by a Redis that is
-- lost. Raised before a drop is served again, so that ids never repeat.
ALTER TABLE drops ADD COLUMN seq_floor bigint NOT NULL DEFAULT 0;

-- What was acknowledged to somebody and is neither in Redis nor here, because
-- Redis lost it: for an operator to settle. ended_at is null for holds.
CREATE TABLE lost_work (
    id         bigint      NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('hold', 'purchase', 'cancel', 'revoked')),
    drop_id    integer     NOT NULL,
    user_id    bigint      NOT NULL,
    size       text        NOT NULL,
    created_at timestamptz NOT NULL,
    deadline   timestamptz NOT NULL,
    ended_at   timestamptz,
    reason     text        NOT NULL,
    found_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, kind)
);
CREATE INDEX lost_work_drop ON lost_work (drop_id);

-- +goose Down
DROP TABLE lost_work, epochs;
DROP FUNCTION require_epoch;
ALTER TABLE drops DROP COLUMN seq_floor;
