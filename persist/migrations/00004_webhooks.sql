-- +goose Up

-- What receivers of webhooks are told, written in the transaction in which it
-- came true. The id names the event for ever, and is sent with it.
CREATE TABLE webhook_outbox (
    id             text        PRIMARY KEY,
    type           text        NOT NULL CHECK (type IN ('purchase.completed', 'reservation.expired', 'drop.sold_out')),
    drop_id        integer     NOT NULL,
    reservation_id bigint,
    user_id        bigint,
    size           text,
    created_at     timestamptz,
    deadline       timestamptz,
    total_stock    bigint,
    occurred_at    timestamptz NOT NULL,
    written_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_outbox_oldest ON webhook_outbox (written_at);

-- One row an event and receiver. next_at is when it is due; while it is being
-- sent, when it is due for others, should the sender die.
CREATE TABLE webhook_deliveries (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text        NOT NULL REFERENCES webhook_outbox ON DELETE CASCADE,
    url        text        NOT NULL,
    state      text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts   integer     NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    UNIQUE (event_id, url)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (url, next_at) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (id) WHERE state = 'dead';

-- +goose Down
DROP TABLE webhook_deliveries, webhook_outbox;
