//! The tables of billing.

/// Made with all others when a store is made.
pub(in crate::store) const TABLES: &str = "
CREATE TABLE mark (
    name TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE charging (
    id      TEXT PRIMARY KEY,
    station TEXT NOT NULL,
    row     TEXT NOT NULL,
    closed  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX charging_closed ON charging (closed);
CREATE TABLE charging_key (
    station TEXT NOT NULL,
    key     TEXT NOT NULL,
    id      TEXT NOT NULL,
    PRIMARY KEY (station, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX charging_key_id ON charging_key (id);
CREATE TABLE cdr (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    session TEXT NOT NULL,
    owner   TEXT,
    state   TEXT NOT NULL,
    code    TEXT,
    draft   TEXT NOT NULL,
    body    TEXT,
    why     TEXT,
    updated INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX cdr_session ON cdr (session);
CREATE INDEX cdr_state ON cdr (state, owner, seq);
CREATE INDEX cdr_code ON cdr (owner, code);
CREATE INDEX cdr_owner ON cdr (owner, updated, seq);
CREATE INDEX cdr_done ON cdr (updated) WHERE state IN ('delivered', 'discarded');
CREATE TABLE token (
    owner   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    blind   BLOB NOT NULL,
    updated INTEGER NOT NULL,
    dek     BLOB NOT NULL,
    sealed  BLOB NOT NULL,
    told    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, kind, blind)
) STRICT, WITHOUT ROWID;
CREATE INDEX token_blind ON token (blind);
CREATE INDEX token_told ON token (told);
CREATE TABLE disclosure (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    purpose   TEXT NOT NULL,
    subject   BLOB,
    reference TEXT NOT NULL,
    fields    TEXT NOT NULL,
    UNIQUE (recipient, purpose, reference)
) STRICT;
CREATE INDEX disclosure_subject ON disclosure (subject, seq);
CREATE TABLE secret (
    name   TEXT PRIMARY KEY,
    dek    BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('charging', 0), ('token', 0), ('disclosure', 0), ('cdr quarantined', 0), ('cdr queued', 0), ('cdr delivered', 0),
    ('cdr refused', 0), ('cdr discarded', 0);
CREATE TRIGGER cdr_in AFTER INSERT ON cdr BEGIN UPDATE tally SET n = n + 1 WHERE what = 'cdr ' || NEW.state; END;
CREATE TRIGGER cdr_out AFTER DELETE ON cdr BEGIN UPDATE tally SET n = n - 1 WHERE what = 'cdr ' || OLD.state; END;
CREATE TRIGGER cdr_moved AFTER UPDATE OF state ON cdr BEGIN
    UPDATE tally SET n = n - 1 WHERE what = 'cdr ' || OLD.state;
    UPDATE tally SET n = n + 1 WHERE what = 'cdr ' || NEW.state;
END;
CREATE TRIGGER charging_in AFTER INSERT ON charging BEGIN UPDATE tally SET n = n + 1 WHERE what = 'charging'; END;
CREATE TRIGGER charging_out AFTER DELETE ON charging BEGIN UPDATE tally SET n = n - 1 WHERE what = 'charging'; END;
CREATE TRIGGER token_in AFTER INSERT ON token BEGIN UPDATE tally SET n = n + 1 WHERE what = 'token'; END;
CREATE TRIGGER token_out AFTER DELETE ON token BEGIN UPDATE tally SET n = n - 1 WHERE what = 'token'; END;
CREATE TRIGGER disclosure_in AFTER INSERT ON disclosure BEGIN UPDATE tally SET n = n + 1 WHERE what = 'disclosure'; END;
CREATE TRIGGER disclosure_out AFTER DELETE ON disclosure BEGIN UPDATE tally SET n = n - 1 WHERE what = 'disclosure'; END;
";
