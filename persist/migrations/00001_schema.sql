-- +goose Up

-- People. A guest is known by email; without one, by name.
CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username   text        NOT NULL,
    email      text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email)) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX users_username_without_email ON users (username) WHERE email IS NULL;

-- The catalogue. opened_at is set once Redis has the drop.
-- A drop's id has 24 bits, since reservation ids begin with it.
CREATE TABLE drops (
    id                 integer GENERATED ALWAYS AS IDENTITY (MAXVALUE 16777215) PRIMARY KEY
                       CHECK (id BETWEEN 1 AND 16777215),
    name               text        NOT NULL,
    price_minor        bigint      NOT NULL CHECK (price_minor >= 0),
    image_url          text        NOT NULL,
    total_stock        bigint      NOT NULL CHECK (total_stock >= 0),
    sized              boolean     NOT NULL,
    start_time         timestamptz NOT NULL,
    end_time           timestamptz CHECK (end_time > start_time),
    hold_ms            bigint      NOT NULL CHECK (hold_ms > 0),
    limit_per_customer bigint      NOT NULL CHECK (limit_per_customer >= 0),
    created_at         timestamptz NOT NULL DEFAULT now(),
    opened_at          timestamptz
);

-- Stock by size; a drop without sizes has one row with the empty size.
-- The CHECK on sold is the last guard against overselling: the writer knows
-- it by name. Rows are updated often, never in an indexed column, so they
-- leave room for the new version on the same page.
CREATE TABLE drop_sizes (
    drop_id     integer NOT NULL REFERENCES drops ON DELETE CASCADE,
    size        text    NOT NULL,
    position    integer NOT NULL,
    total_stock bigint  NOT NULL CHECK (total_stock >= 0),
    sold        bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (drop_id, size),
    CONSTRAINT drop_sizes_sold_within_stock CHECK (sold BETWEEN 0 AND total_stock)
) WITH (fillfactor = 50);

-- Holds that have ended. status 'refused': Redis accepted the purchase and
-- the guard above refused it. The id begins with the drop, so the primary key
-- also finds all of one drop.
CREATE TABLE reservations (
    id         bigint      PRIMARY KEY,
    drop_id    integer     NOT NULL REFERENCES drops,
    user_id    bigint      NOT NULL REFERENCES users,
    size       text        NOT NULL,
    status     text        NOT NULL CHECK (status IN ('completed', 'cancelled', 'expired', 'refused')),
    created_at timestamptz NOT NULL,
    deadline   timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL
);

-- Purchases; the id is the reservation's. size is what the buyer asked for,
-- pool the row of drop_sizes that the unit came from.
CREATE TABLE purchases (
    id           bigint      PRIMARY KEY,
    drop_id      integer     NOT NULL,
    user_id      bigint      NOT NULL REFERENCES users,
    size         text        NOT NULL,
    pool         text        NOT NULL,
    purchased_at timestamptz NOT NULL,
    FOREIGN KEY (drop_id, pool) REFERENCES drop_sizes (drop_id, size)
);
CREATE INDEX purchases_newest ON purchases (drop_id, purchased_at DESC, id DESC);

-- Purchases that the guard refused: for an operator to settle. Final: a
-- replay of the same record does not become a purchase later.
CREATE TABLE refused_purchases (
    id           bigint      PRIMARY KEY,
    drop_id      integer     NOT NULL,
    user_id      bigint      NOT NULL,
    size         text        NOT NULL,
    created_at   timestamptz NOT NULL,
    deadline     timestamptz NOT NULL,
    purchased_at timestamptz NOT NULL,
    reason       text        NOT NULL,
    refused_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refused_purchases_drop ON refused_purchases (drop_id);

-- +goose Down
DROP TABLE refused_purchases, purchases, reservations, drop_sizes, drops, users;
