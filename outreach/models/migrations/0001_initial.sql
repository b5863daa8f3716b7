-- release: 0.1.0
-- serves from: 1
-- (Every migration declares both: docs/deploy.md, Out and back.)
--
-- The whole house in one migration. Rules that hold for every statement in this project:
-- no default asks the time (times are parameters), states are encoded by CHECK and UNIQUE, money and
-- permission live in rows that T1 reads. Lock order: person, app, account, lead, execution.

-- --- the instance ------------------------------------------------------------------------------------------
CREATE TABLE instance (
    id                smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    name              text NOT NULL,
    key               text NOT NULL,                -- random; stands in every Redis key
    simulated_only    boolean NOT NULL DEFAULT false,
    live_confirmed_at timestamptz,
    live_confirmed_by text,
    clock_origin      timestamptz NOT NULL,
    clock_factor      double precision NOT NULL CHECK (clock_factor > 0),
    paused_at         timestamptz,
    pause_reason      text,
    -- where it was made or adopted: the cluster's number and the database's own; elsewhere it is a restored or cloned one
    cluster           text,
    foreign_since     timestamptz,                  -- nothing is sent until somebody adopts it
    foreign_reason    text,
    recovering_since  timestamptz,                  -- adopted then; nothing is sent until what the backup does not know has been read
    last_tick_at      timestamptz,
    retained_at       timestamptz,                  -- when somebody last looked whether something has been kept for long enough
    -- touches per person: never two within gap_hours, never more than limit within days
    policy            jsonb NOT NULL DEFAULT '{"touch": {"gap_hours": 48, "limit": 4, "days": 30}}',
    -- (and `retention`: how long what is kept; a kind that is missing has its default, compliance/retention.py)
    caps              jsonb NOT NULL DEFAULT '{}',  -- action kind -> caps text, for the whole instance
    created_at        timestamptz NOT NULL,
    CHECK (NOT (simulated_only AND live_confirmed_at IS NOT NULL)),
    CHECK ((paused_at IS NULL) = (pause_reason IS NULL)),
    CHECK ((foreign_since IS NULL) = (foreign_reason IS NULL)),
    CHECK (foreign_since IS NULL OR recovering_since IS NULL)
);
-- Who made a restored or cloned database the one that sends, and what came of it.
CREATE TABLE adoption (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    by          text NOT NULL,
    reason      text NOT NULL,
    found       text,                               -- why it was taken for a foreign one; NULL: nothing showed it
    name_was    text,                               -- a clone that got a name of its own
    backup_at   timestamptz NOT NULL,               -- the last instant that the backup knows of
    fence       bigint NOT NULL,                    -- every later fence is above it, and so above all that were drawn before
    replayed_at timestamptz,                        -- the off-box journal has been applied
    replayed    jsonb NOT NULL DEFAULT '{}',        -- how many lines of each kind
    to_erase    bigint[] NOT NULL DEFAULT '{}',     -- persons who are erased again once their open calls are over
    released_at timestamptz,
    released_by text,
    CHECK ((released_at IS NULL) = (released_by IS NULL)),
    CHECK (released_at IS NULL OR replayed_at IS NOT NULL)
);

-- Which secrets this database has met: the ids of peppers and keys, which say nothing of them. A process whose secrets are others
-- refuses to start.
CREATE TABLE key_check (
    kind        text NOT NULL CHECK (kind IN ('pepper', 'key')),
    id          text NOT NULL,
    known_since timestamptz NOT NULL,
    given_up_at timestamptz,                         -- it is lost, and somebody has said that we go on without it
    PRIMARY KEY (kind, id)
);

-- --- who sends ---------------------------------------------------------------------------------------------
CREATE TABLE app (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    channel         text NOT NULL,
    client_id       text,
    -- sealed, as the tokens of an account are (outreach/vault.py); never in plain text
    client_secret   text CHECK (client_secret LIKE 'v_:%'),
    consumer_secret text CHECK (consumer_secret LIKE 'v_:%'), -- signs webhooks
    caps            jsonb NOT NULL DEFAULT '{}',     -- action kind -> caps text, over all accounts of the app
    state           text NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'paused', 'no_credits', 'restricted')),
    state_reason    text,
    state_at        timestamptz,
    created_at      timestamptz NOT NULL
);

CREATE TABLE account (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app_id           bigint NOT NULL REFERENCES app,
    name             text NOT NULL UNIQUE,
    channel          text NOT NULL,
    external_id      text NOT NULL,
    handle           text,
    base_url         text NOT NULL,
    access_token     text NOT NULL CHECK (access_token = '' OR access_token LIKE 'v_:%'), -- sealed; empty: forgotten
    refresh_token    text CHECK (refresh_token LIKE 'v_:%'),
    token_expires_at timestamptz,
    scopes           text[],                         -- what the tokens permit; NULL: the provider did not say
    tokens_at        timestamptz,                    -- when they were stored: a refusal of a call begun before says nothing of them
    -- a refresh is a claimed call like a send: fence and deadline while it is open
    refresh_fence    bigint,
    refresh_deadline timestamptz,
    zone             text NOT NULL DEFAULT 'UTC',
    caps             jsonb NOT NULL DEFAULT '{}',    -- action kind -> caps text; missing: the default of the kind
    pace             jsonb NOT NULL DEFAULT '{}',    -- action kind -> seconds between two; missing: the channel's
    task_caps        jsonb NOT NULL DEFAULT '{}',    -- action kind -> caps text for what humans do by hand; missing: the kind's
    -- what the platform permits this account, said by the operator with a reason
    follow_permitted boolean NOT NULL DEFAULT false,
    dm_mode          text NOT NULL DEFAULT 'inbound_first' CHECK (dm_mode IN ('inbound_first', 'opt_in')),
    mode_reason      text,
    state            text NOT NULL DEFAULT 'ok'
                     CHECK (state IN ('ok', 'paused', 'needs_reauth', 'restricted', 'no_credits', 'tier', 'disconnected')),
    state_reason     text,
    state_at         timestamptz,
    last_stamp       timestamptz,                    -- stamps of an account never run backwards
    created_at       timestamptz NOT NULL,
    UNIQUE (channel, external_id),
    CHECK (state = 'ok' OR state_reason IS NOT NULL),
    CHECK ((refresh_fence IS NULL) = (refresh_deadline IS NULL)),
    CHECK (dm_mode = 'inbound_first' OR mode_reason IS NOT NULL),
    CHECK (access_token <> '' OR (state = 'disconnected' AND refresh_token IS NULL))
);

-- An owner was sent to the provider to let an account in, and comes back with a state that works once. The state itself is
-- never stored, and the verifier neither: it is made of the state, the nonce and the installation's secret.
CREATE TABLE account_authorization (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel      text NOT NULL,
    account_name text NOT NULL,
    app_id       bigint NOT NULL REFERENCES app,
    account_id   bigint REFERENCES account,           -- the account that is connected again; NULL until a new one is made
    wanted       jsonb NOT NULL DEFAULT '{}',         -- what a new account is made of, and who it must be
    base_url     text NOT NULL,
    redirect_uri text NOT NULL,
    nonce        text NOT NULL,
    state_digest text NOT NULL,
    begun_by     text NOT NULL,
    begun_at     timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'used', 'connected', 'refused')),
    used_at      timestamptz,
    detail       text,                                -- connected: as whom; refused: why
    CHECK (expires_at > begun_at),
    CHECK ((state = 'open') = (used_at IS NULL)),
    CHECK (state <> 'connected' OR account_id IS NOT NULL),
    CHECK (state <> 'refused' OR detail IS NOT NULL)
);

CREATE TABLE sender_pool (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    channel    text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE sender_pool_account (
    pool_id    bigint NOT NULL REFERENCES sender_pool,
    account_id bigint NOT NULL REFERENCES account,
    weight     integer NOT NULL DEFAULT 1 CHECK (weight > 0),
    PRIMARY KEY (pool_id, account_id)
);

-- A provider said "not before": written by RateLimited, read by the tick and by T1.
CREATE TABLE hold (
    scope    text NOT NULL CHECK (scope IN ('account', 'app')),
    scope_id bigint NOT NULL,
    kind     text NOT NULL,
    until    timestamptz NOT NULL,
    reason   text NOT NULL,
    PRIMARY KEY (scope, scope_id, kind)
);

-- --- the human and the handles -----------------------------------------------------------------------------
CREATE TABLE person (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_type              text NOT NULL DEFAULT 'person' CHECK (entity_type IN ('person', 'organisation')),
    name                     text,
    zone                     text,                   -- IANA; NULL: unknown
    country                  text,                   -- ISO 3166 alpha-2; NULL: unknown
    invented                 boolean NOT NULL DEFAULT false,  -- sample data, nobody's contact
    is_test                  boolean NOT NULL DEFAULT false,  -- one of us: out of statistics and touch budgets, under every other rule
    suppressed_at            timestamptz,            -- binding for every new send from its commit on
    suppression_reason       text,
    suppression_effective_at timestamptz,            -- nothing can surface at a provider after this
    paused_at                timestamptz,
    pause_reason             text,
    merged_into              bigint REFERENCES person,
    erased_at                timestamptz,
    created_at               timestamptz NOT NULL,
    CHECK (suppression_effective_at IS NULL OR suppressed_at IS NOT NULL),
    CHECK ((suppressed_at IS NULL) = (suppression_reason IS NULL)),
    CHECK ((paused_at IS NULL) = (pause_reason IS NULL))
);
CREATE INDEX person_draining ON person (id) WHERE suppressed_at IS NOT NULL AND suppression_effective_at IS NULL;
CREATE INDEX person_name ON person (lower(name)) WHERE name IS NOT NULL;

CREATE TABLE import (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source     text NOT NULL,
    file_name  text NOT NULL,
    file_hash  text NOT NULL,
    basis      text,
    proof      text,
    counts     jsonb NOT NULL DEFAULT '{}',
    at         timestamptz NOT NULL,
    CHECK (basis IS NULL OR proof IS NOT NULL)
);

CREATE TABLE identity (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('twitter_id', 'twitter_handle', 'email', 'evm_address', 'solana_address',
                                             'linkedin_slug', 'linkedin_urn', 'linkedin_member')),
    value      text NOT NULL,                        -- normalised
    shown      text NOT NULL,                        -- as first written
    hmac       text NOT NULL,                        -- id of the pepper, keyed digest of (kind, value): survives erasure
    person_id  bigint NOT NULL REFERENCES person,
    status     text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'shared', 'blocked', 'closed', 'not_found')),
    import_id  bigint REFERENCES import,
    created_at timestamptz NOT NULL,
    UNIQUE (kind, value)
);
CREATE INDEX identity_person ON identity (person_id);
CREATE INDEX identity_hmac ON identity (hmac);

CREATE TABLE identity_link (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    a          bigint NOT NULL REFERENCES identity,
    b          bigint NOT NULL REFERENCES identity,
    source     text NOT NULL,
    evidence   jsonb NOT NULL DEFAULT '{}',
    status     text NOT NULL DEFAULT 'active'
               CHECK (status IN ('active', 'proposed', 'held_degree', 'held_size', 'held_conflict', 'cut')),
    import_id  bigint REFERENCES import,
    created_at timestamptz NOT NULL,
    UNIQUE (a, b),
    CHECK (a < b)
);
CREATE INDEX identity_link_b ON identity_link (b);

CREATE TABLE profile (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id  bigint NOT NULL REFERENCES person,
    import_id  bigint NOT NULL REFERENCES import,
    source     text NOT NULL,
    source_key text NOT NULL,                        -- the same record imported again is the same profile
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (source, source_key)
);
CREATE INDEX profile_person ON profile (person_id);
CREATE INDEX profile_attributes ON profile USING gin (attributes jsonb_path_ops);

CREATE TABLE person_event (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id  bigint NOT NULL REFERENCES person,
    kind       text NOT NULL,
    other_id   bigint REFERENCES person,
    link_id    bigint REFERENCES identity_link,
    actor      text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    at         timestamptz NOT NULL
);
CREATE INDEX person_event_person ON person_event (person_id, id);

CREATE TABLE segment (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    definition jsonb NOT NULL,
    counts     jsonb NOT NULL DEFAULT '{}',
    built_at   timestamptz NOT NULL
);
CREATE TABLE segment_member (
    segment_id bigint NOT NULL REFERENCES segment,
    person_id  bigint NOT NULL REFERENCES person,
    PRIMARY KEY (segment_id, person_id)
);

-- --- permission --------------------------------------------------------------------------------------------
CREATE TABLE suppression (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id   bigint REFERENCES person,            -- NULL: only the identifier is known
    hmac        text,                                -- keyed digest of an identifier: re-imports stay blocked
    channel     text,                                -- NULL: every channel
    reason      text NOT NULL,
    source      text NOT NULL,                       -- reply, opt_out_page, operator, import, …
    evidence    jsonb NOT NULL DEFAULT '{}',
    at          timestamptz NOT NULL,
    lifted_at   timestamptz,
    lift_reason text,
    CHECK (person_id IS NOT NULL OR hmac IS NOT NULL),
    CHECK ((lifted_at IS NULL) = (lift_reason IS NULL))
);
CREATE INDEX suppression_person ON suppression (person_id) WHERE lifted_at IS NULL;
CREATE INDEX suppression_hmac ON suppression (hmac) WHERE lifted_at IS NULL;

-- What a backup must not forget, on its way to a place outside this database: one row per suppression, lift and erasure, written with
-- it, and delivered in order. Digests only.
CREATE TABLE journal (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL,                      -- suppressed, lifted, erased; other kinds are others' lines
    body         text NOT NULL,                      -- JSON on one line
    at           timestamptz NOT NULL,
    number       bigint UNIQUE,                      -- running, without gaps: given when it is first taken out
    line         text,                               -- exactly what is written outside: the body with its number
    delivered_at timestamptz,
    CHECK ((number IS NULL) = (line IS NULL)),
    CHECK (delivered_at IS NULL OR number IS NOT NULL)
);
CREATE INDEX journal_waiting ON journal (id) WHERE delivered_at IS NULL;
CREATE TABLE journal_delivery (
    id           smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    leased_until timestamptz,                        -- somebody is at it
    due_at       timestamptz,                        -- after a failure: not before
    attempts     integer NOT NULL DEFAULT 0,         -- failures in a row
    reason       text,                               -- the last one
    checked_at   timestamptz                         -- when the outside was last seen to agree with us
);
INSERT INTO journal_delivery DEFAULT VALUES;

CREATE TABLE consent (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity_id  bigint NOT NULL REFERENCES identity,
    channel      text NOT NULL,
    account_id   bigint REFERENCES account,          -- inbound: to which account they wrote
    basis        text NOT NULL CHECK (basis IN ('consent', 'opt_in', 'existing_customer', 'legitimate_interest', 'inbound')),
    source       text NOT NULL,
    proof        text NOT NULL,
    country      text,                               -- ISO 3166 alpha-2: under whose law it was given; NULL: unknown
    obtained_at  timestamptz NOT NULL,
    expires_at   timestamptz,                        -- from then on it permits nothing, whether or not it is noted
    expiry_noted_at timestamptz,                     -- the sweep has said so in the log
    withdrawn_at timestamptz,
    withdraw_reason text,
    import_id    bigint REFERENCES import,
    recorded_at  timestamptz NOT NULL,
    CHECK (expires_at IS NULL OR expires_at > obtained_at),
    CHECK (expiry_noted_at IS NULL OR expires_at IS NOT NULL),
    CHECK ((withdrawn_at IS NULL) = (withdraw_reason IS NULL))
);
CREATE INDEX consent_identity ON consent (identity_id, channel);
-- What the sweep still has to note: few, and those that have expired stand first.
CREATE INDEX consent_expiring ON consent (expires_at)
    WHERE expires_at IS NOT NULL AND expiry_noted_at IS NULL AND withdrawn_at IS NULL;
CREATE UNIQUE INDEX consent_inbound ON consent (identity_id, channel, account_id) WHERE basis = 'inbound';

-- --- what to do --------------------------------------------------------------------------------------------
CREATE TABLE sequence (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    title        text NOT NULL DEFAULT '',
    state        text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'archived')),
    state_reason text,
    built_in     boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL
);
-- One row per author's key for ever; a version holds the content per key.
CREATE TABLE sequence_action (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence_id bigint NOT NULL REFERENCES sequence,
    key         text NOT NULL,
    kind        text NOT NULL,
    UNIQUE (sequence_id, key)
);
CREATE TABLE sequence_version (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence_id  bigint NOT NULL REFERENCES sequence,
    version      integer NOT NULL CHECK (version > 0),
    content_hash text NOT NULL,
    source       text NOT NULL,                      -- the author's file
    graph        jsonb NOT NULL,
    graph_format integer NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    UNIQUE (sequence_id, version)
);
CREATE TABLE sequence_trigger (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id     bigint NOT NULL REFERENCES sequence_version,
    from_action_id bigint NOT NULL REFERENCES sequence_action,
    kind           text NOT NULL,
    to_action_id   bigint REFERENCES sequence_action, -- NULL: END
    delay_seconds  double precision NOT NULL DEFAULT 0 CHECK (delay_seconds >= 0),
    position       integer NOT NULL,
    UNIQUE (version_id, from_action_id, position)
);
CREATE TABLE message_template (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id bigint NOT NULL REFERENCES sequence_version,
    action_id  bigint NOT NULL REFERENCES sequence_action,
    variant    text NOT NULL,
    weight     integer NOT NULL CHECK (weight >= 0),
    subject    text,
    body       text NOT NULL,
    fallback   boolean NOT NULL DEFAULT false,
    UNIQUE (version_id, action_id, variant)
);

-- The doors of each sequence's newest version, by which people come in by themselves: what the graph says of them stands there,
-- at this position. Written by publish; a door that stays keeps its row.
CREATE TABLE sequence_entry (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence_id bigint NOT NULL REFERENCES sequence,
    version_id  bigint NOT NULL REFERENCES sequence_version,
    position    integer NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('segment', 'message_in', 'form')),
    name        text NOT NULL,                       -- the segment's, or the form's; else empty
    channel     text,                                -- message_in: where they write
    since       timestamptz NOT NULL,                -- what came before enrolls nobody
    secret      text CHECK (secret LIKE 'v_:%'),     -- form: signs what it posts; sealed
    import_id   bigint REFERENCES import,            -- form: under which its people are recorded
    -- segment: every person up to `newest` has been looked at once; `walked_to` is where the next look at them begins
    newest      bigint NOT NULL DEFAULT 0,
    walked_to   bigint NOT NULL DEFAULT 0,
    UNIQUE (sequence_id, kind, name),
    CHECK ((kind = 'form') = (secret IS NOT NULL)),
    CHECK ((kind = 'message_in') = (channel IS NOT NULL))
);
-- What a form has posted: taken once, whoever posts it again.
CREATE TABLE form_submission (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sequence_id bigint NOT NULL REFERENCES sequence,
    form        text NOT NULL,
    content_id  text NOT NULL,                       -- keyed digest of what was signed
    received_at timestamptz NOT NULL,
    UNIQUE (sequence_id, form, content_id)
);

-- --- who is where ------------------------------------------------------------------------------------------
-- One enrolment by hand: what can be undone as a whole. Its leads carry the id and lie between the first and the last.
CREATE TABLE enroll_batch (
    id          text PRIMARY KEY,
    sequence_id bigint NOT NULL REFERENCES sequence,
    version_id  bigint NOT NULL REFERENCES sequence_version,
    segments    jsonb NOT NULL,                      -- names
    enrolled    integer NOT NULL CHECK (enrolled > 0),
    first_lead  bigint NOT NULL,
    last_lead   bigint NOT NULL,
    at          timestamptz NOT NULL,
    by          text NOT NULL,
    undone_at   timestamptz,
    undone_by   text,
    CHECK (first_lead <= last_lead),
    CHECK ((undone_at IS NULL) = (undone_by IS NULL))
);
CREATE TABLE lead (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id      bigint NOT NULL REFERENCES person,
    sequence_id    bigint NOT NULL REFERENCES sequence,
    version_id     bigint NOT NULL REFERENCES sequence_version,
    key            text UNIQUE,                      -- one-off sends: the caller's key
    batch          text,                             -- the enrolment that made it
    state          text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'finished', 'exited')),
    exit_reason    text,
    data           jsonb NOT NULL DEFAULT '{}',      -- attributes frozen at enrolment
    cursor         text NOT NULL,                    -- the node's key
    visits         jsonb NOT NULL DEFAULT '{}',      -- node key -> times entered
    entered_at     timestamptz NOT NULL,             -- when the cursor came here
    -- active <=> due_at: the next instant at which the engine must look
    due_at         timestamptz,
    waiting_on     text CHECK (waiting_on IN ('time', 'signal', 'evidence', 'capacity', 'window', 'call', 'doubt', 'task',
                                              'account', 'pause', 'missing_variable')),
    waiting_detail text,
    -- set while the next thing due is a call of this kind by this account; else NULL
    account_id     bigint REFERENCES account,
    next_kind      text,
    hinted_until   timestamptz,                      -- not indexed: a lease, nothing more
    hints          integer NOT NULL DEFAULT 0,       -- hints of the sweep in a row that moved nothing
    epoch          integer NOT NULL DEFAULT 0,       -- raised by stop, pause, merge: what was rendered before is void
    event_seq      integer NOT NULL DEFAULT 0,
    attempts       integer NOT NULL DEFAULT 0,       -- passes that failed in a row
    paused_at      timestamptz,
    pause_reason   text,
    enrolled_at    timestamptz NOT NULL,
    ended_at       timestamptz,
    CHECK ((state = 'active') = (due_at IS NOT NULL)),
    CHECK ((state = 'active') = (waiting_on IS NOT NULL)),
    CHECK ((state = 'active') = (ended_at IS NULL)),
    CHECK ((state = 'exited') = (exit_reason IS NOT NULL)),
    CHECK ((account_id IS NULL) = (next_kind IS NULL)),
    CHECK ((paused_at IS NULL) = (pause_reason IS NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX lead_one_active ON lead (person_id, sequence_id) WHERE state = 'active' AND key IS NULL;
CREATE INDEX lead_due ON lead (account_id, next_kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lead_person ON lead (person_id);
CREATE INDEX lead_sequence ON lead (sequence_id, state);
-- One-off sends carry their words in `data`: few, and none of them once their time is over.
CREATE INDEX lead_words ON lead (ended_at) WHERE key IS NOT NULL AND ended_at IS NOT NULL AND data ? 'text';

CREATE TABLE lead_binding (
    lead_id     bigint NOT NULL REFERENCES lead,
    channel     text NOT NULL,
    account_id  bigint NOT NULL REFERENCES account,
    identity_id bigint NOT NULL REFERENCES identity,
    PRIMARY KEY (lead_id, channel)
);
CREATE INDEX lead_binding_identity ON lead_binding (identity_id);

-- --- the ledger --------------------------------------------------------------------------------------------
CREATE SEQUENCE fence;
CREATE TABLE execution (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lead_id        bigint REFERENCES lead,           -- NULL only for sends made by hand, seen at the provider
    action_id      bigint REFERENCES sequence_action,
    visit          integer NOT NULL DEFAULT 1,
    sequence_id    bigint REFERENCES sequence,
    kind           text NOT NULL,
    channel        text NOT NULL,
    account_id     bigint NOT NULL REFERENCES account,
    app_id         bigint NOT NULL REFERENCES app,
    identity_id    bigint REFERENCES identity,       -- NULL only for sends made by hand to somebody whom we do not know
    inbound_id     bigint,                           -- sends made by hand: the echo that told of it; follows and unfollows: their own
    state          text NOT NULL CHECK (state IN ('planned', 'calling', 'sent', 'refused', 'in_doubt', 'held', 'absent', 'skipped',
                                                  'cancelled', 'blocked')),
    cause          text NOT NULL,                    -- the trigger that led here; 'start', 'one_off' or 'by_hand'
    cause_deadline timestamptz,                      -- a negative edge: what its evidence must reach
    cause_node     text,                             -- the node whose edge led here: the lead stands there again if it is taken back
    first_due_at   timestamptz,                      -- since when it could have been done; NULL only for sends made by hand
    late_at        timestamptz,                      -- from then on it comes too late; NULL: never
    variant        text,
    touch          boolean NOT NULL DEFAULT false,
    epoch          integer NOT NULL DEFAULT 0,       -- the lead's epoch when the claimed body was rendered
    body_hash      text,
    attempts       integer NOT NULL DEFAULT 0,
    fence          bigint,
    started_at     timestamptz,                      -- T1
    call_deadline  timestamptz,
    effect_by      timestamptz,                      -- the last instant at which the provider can have accepted it
    sent_at        timestamptz,                      -- clocks of later edges start here
    settled_at     timestamptz,
    read_backs     integer NOT NULL DEFAULT 0,
    next_read_at   timestamptz,                        -- after an empty read-back: when the provider may be asked again
    provider_ids   jsonb NOT NULL DEFAULT '{}',
    reason         text,                             -- refused, blocked, cancelled, held: why
    verdict        jsonb,                            -- the gate's last word: rule, numbers, pack version
    done_by        text,                             -- tasks and sends by hand: who; else NULL
    observed       boolean,                          -- tasks: seen at the provider (true) or said by the human (false)
    created_at     timestamptz NOT NULL,
    UNIQUE (lead_id, action_id, visit),
    CHECK ((lead_id IS NULL) = (cause = 'by_hand')),
    CHECK ((lead_id IS NULL) = (action_id IS NULL)),
    CHECK (inbound_id IS NULL OR effect_by IS NOT NULL),
    CHECK (identity_id IS NOT NULL OR inbound_id IS NOT NULL),
    CHECK (state NOT IN ('calling', 'in_doubt', 'held') OR (fence IS NOT NULL AND started_at IS NOT NULL
           AND call_deadline IS NOT NULL AND effect_by IS NOT NULL)),
    CHECK (state <> 'sent' OR (sent_at IS NOT NULL AND effect_by IS NOT NULL AND started_at IS NOT NULL)),
    CHECK (state NOT IN ('refused', 'blocked', 'absent', 'skipped', 'cancelled') OR effect_by IS NULL),
    CHECK (state NOT IN ('refused', 'blocked', 'held', 'skipped', 'cancelled') OR reason IS NOT NULL),
    CHECK ((started_at IS NULL) OR effect_by IS NULL OR effect_by >= started_at),
    CHECK (late_at IS NULL OR late_at > first_due_at),
    CHECK (cause_deadline IS NULL OR cause_node IS NOT NULL)
) WITH (fillfactor = 80);
-- Order per lead: at most one open execution. Open ones are few: whoever looks for them walks this index.
CREATE UNIQUE INDEX execution_one_open ON execution (lead_id) WHERE state IN ('calling', 'in_doubt', 'held');
-- Few: planned steps of sequences that say how late one may be.
CREATE INDEX execution_late ON execution (late_at) WHERE state = 'planned' AND late_at IS NOT NULL;
CREATE INDEX execution_account_cap ON execution (account_id, kind, effect_by) WHERE effect_by IS NOT NULL;
CREATE INDEX execution_app_cap ON execution (app_id, kind, effect_by) WHERE effect_by IS NOT NULL;
CREATE INDEX execution_sequence_cap ON execution (sequence_id, kind, effect_by) WHERE effect_by IS NOT NULL;
-- An echo counts once, however often it is told.
CREATE UNIQUE INDEX execution_echo ON execution (inbound_id) WHERE inbound_id IS NOT NULL;
CREATE INDEX execution_identity ON execution (identity_id);

CREATE TABLE message_body (
    execution_id bigint PRIMARY KEY REFERENCES execution,
    subject      text,
    body         text NOT NULL,
    written_at   timestamptz NOT NULL
);
-- By age, for retention. Rows come in this order, so keeping it up costs next to nothing.
CREATE INDEX message_body_age ON message_body (written_at, execution_id);

CREATE TABLE task (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- act: do what the engine may not; decide: a reply needs a human; held: did it happen? review: may it be sent?
    kind         text NOT NULL CHECK (kind IN ('act', 'decide', 'held', 'review')),
    lead_id      bigint REFERENCES lead,
    execution_id bigint REFERENCES execution,
    person_id    bigint NOT NULL REFERENCES person,
    inbound_id   bigint,
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'claimed', 'asked', 'done', 'skipped', 'void')),
    reason       text NOT NULL,                      -- the rule that handed it over
    detail       jsonb NOT NULL DEFAULT '{}',
    holder       text,
    claimed_at   timestamptz,
    deadline     timestamptz,
    expires_at   timestamptz,                        -- act: nobody has begun it by then, and the step fails; NULL: never
    outcome      text,
    closed_at    timestamptz,
    closed_by    text,
    told_at      timestamptz,                        -- void: its holder has been told
    created_at   timestamptz NOT NULL,
    CHECK (kind NOT IN ('act', 'review') OR execution_id IS NOT NULL),
    CHECK (state NOT IN ('claimed', 'asked') OR (holder IS NOT NULL AND deadline IS NOT NULL)),
    CHECK ((state IN ('done', 'skipped', 'void')) = (closed_at IS NOT NULL))
);
CREATE UNIQUE INDEX task_one_open ON task (execution_id) WHERE state IN ('open', 'claimed', 'asked');
CREATE INDEX task_open ON task (state, id) WHERE state IN ('open', 'claimed', 'asked');
CREATE INDEX task_person ON task (person_id) WHERE state IN ('open', 'claimed', 'asked');
-- What somebody holds, and what was taken out of their hands without their knowing it.
CREATE INDEX task_holder ON task (holder) WHERE holder IS NOT NULL AND told_at IS NULL AND state IN ('claimed', 'asked', 'void');
CREATE INDEX task_review ON task (lead_id) WHERE kind = 'review' AND state = 'open';
-- `review_first`: what somebody has read and let go. Once a version has as many as it asks for, it runs by itself.
CREATE TABLE approval (
    version_id   bigint NOT NULL REFERENCES sequence_version,
    execution_id bigint NOT NULL REFERENCES execution,
    body_hash    text NOT NULL,                      -- of that very text, and of no other
    approved_by  text NOT NULL,
    approved_at  timestamptz NOT NULL,
    PRIMARY KEY (version_id, execution_id)
);

-- --- what came in ------------------------------------------------------------------------------------------
CREATE TABLE inbound (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel      text NOT NULL,
    account_key  text NOT NULL,                      -- our account's id at the provider, as received
    content_id   text NOT NULL,                      -- the content's own id: the same by webhook and by poll
    kind         text NOT NULL,
    account_id   bigint REFERENCES account,
    peer_kind    text NOT NULL DEFAULT '',           -- identity kind of the peer
    peer         text NOT NULL DEFAULT '',
    peer_handle  text NOT NULL DEFAULT '',           -- normalised; where the peer may be known by it alone
    text         text,
    raw          jsonb NOT NULL,
    via          text NOT NULL CHECK (via IN ('webhook', 'poll', 'operator')),
    occurred_at  timestamptz NOT NULL,               -- business time of the provider's stamp
    received_at  timestamptz NOT NULL,
    state        text NOT NULL DEFAULT 'stored' CHECK (state IN ('stored', 'waiting', 'digested', 'unmatched', 'unreadable')),
    digest_after timestamptz,                        -- waiting: look again then
    digested_at  timestamptz,
    person_id    bigint REFERENCES person,
    class        text,
    -- why its words are gone: kept for long enough, deleted by its author, or with the account. The row stays for ever: it is
    -- what a replay is known by, and no replay brings the words back.
    gone         text CHECK (gone IN ('age', 'deleted', 'purged')),
    UNIQUE (channel, account_key, content_id),
    CHECK (gone IS NULL OR (text IS NULL AND raw = '{}'))
);
CREATE INDEX inbound_undigested ON inbound (peer_kind, peer) WHERE state = 'stored';
CREATE INDEX inbound_undigested_handle ON inbound (peer_handle) WHERE state = 'stored' AND peer_handle <> '';
-- By when it came: reports walk a stretch of it. Next to nothing to keep up, for rows come in that order.
CREATE INDEX inbound_received ON inbound USING brin (received_at) WITH (pages_per_range = 16);
CREATE INDEX inbound_todo ON inbound (id) WHERE state IN ('stored', 'waiting');
CREATE INDEX inbound_person ON inbound (person_id, occurred_at) WHERE person_id IS NOT NULL;
-- What somebody wrote by hand to a peer whom nobody was known by: few.
CREATE INDEX inbound_by_hand ON inbound (peer_kind, peer) WHERE state = 'digested' AND kind = 'message_out' AND person_id IS NULL;
CREATE INDEX inbound_unmatched ON inbound (peer_kind, peer) WHERE state = 'unmatched';
-- Messages from an id that came without a handle: see inbox_read_up_to.
CREATE INDEX inbound_unnamed ON inbound (account_id, occurred_at)
    WHERE state IN ('stored', 'unmatched') AND kind = 'message_in' AND peer_kind = 'twitter_id' AND peer_handle = '';

-- Replies, newest first, for people.
CREATE INDEX inbound_messages ON inbound (id) WHERE kind = 'message_in';

-- What somebody asks us to delete, and by when: a message by its author, or all that an account wrote and received, once its
-- owner or the platform has ended our access. Kept for ever: what comes late of it is stored without its words.
CREATE TABLE deletion (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text NOT NULL CHECK (scope IN ('message', 'account')),
    channel     text NOT NULL,
    account_key text NOT NULL DEFAULT '',            -- our account's id at the provider; message: '' is any of ours
    content_id  text NOT NULL DEFAULT '',            -- message: as in inbound
    reason      text NOT NULL,
    asked_by    text NOT NULL,
    asked_at    timestamptz NOT NULL,
    begin_at    timestamptz NOT NULL,                -- not before then: an account may be connected again
    due_by      timestamptz NOT NULL,                -- when it must be over
    done_at     timestamptz,
    outcome     text CHECK (outcome IN ('erased', 'unknown', 'connected_again')),
    erased      integer NOT NULL DEFAULT 0,          -- texts
    CHECK ((scope = 'message') = (content_id <> '')),
    CHECK (scope = 'message' OR account_key <> ''),
    CHECK ((done_at IS NULL) = (outcome IS NULL)),
    CHECK (begin_at <= due_by)
);
CREATE UNIQUE INDEX deletion_open ON deletion (scope, channel, account_key, content_id) WHERE done_at IS NULL;
-- What arrivals are held against.
CREATE INDEX deletion_message ON deletion (content_id) WHERE scope = 'message';

-- Retention: one run at a time, in batches; a run that was broken off is gone on with. What is due is fixed when it begins.
CREATE TABLE retention_run (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began_at timestamptz NOT NULL,
    by       text NOT NULL,
    cutoffs  jsonb NOT NULL,                         -- kind -> what is not younger goes; kinds that are not mentioned stay
    steps    jsonb NOT NULL,                         -- kinds that are still to be done, in order
    position jsonb NOT NULL DEFAULT '{}',            -- how far the first of them has come
    counts   jsonb NOT NULL DEFAULT '{}',            -- kind -> rows that went
    ended_at timestamptz
);
CREATE UNIQUE INDEX retention_run_open ON retention_run ((ended_at IS NULL)) WHERE ended_at IS NULL;
-- Rows come in by their age, so what is older than the mark has been looked at once and for all ...
CREATE TABLE retention_mark (
    kind  text PRIMARY KEY CHECK (kind IN ('messages')),
    up_to bigint NOT NULL
);
-- ... but for those whose words somebody still needed then.
CREATE TABLE retention_left (
    inbound_id bigint PRIMARY KEY REFERENCES inbound
);

-- What people do about a reply. No row: nobody has touched it.
CREATE TABLE reply_care (
    inbound_id     bigint PRIMARY KEY REFERENCES inbound,
    assignee       text,
    assigned_at    timestamptz,
    answer_lead_id bigint REFERENCES lead,           -- the one-off lead that answers it
    class_was      text,                             -- what the engine had read, before somebody corrected it
    class_by       text,
    class_at       timestamptz,
    done_at        timestamptz,
    done_by        text,
    CHECK ((assignee IS NULL) = (assigned_at IS NULL)),
    CHECK ((class_by IS NULL) = (class_at IS NULL)),
    CHECK ((done_at IS NULL) = (done_by IS NULL))
);

CREATE TABLE signal (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lead_id     bigint NOT NULL REFERENCES lead,
    kind        text NOT NULL,
    content_id  text NOT NULL,
    class       text,
    inbound_id  bigint REFERENCES inbound,
    at          timestamptz NOT NULL,                -- when it happened
    received_at timestamptz NOT NULL,
    used_at     timestamptz,                         -- an edge was taken on it, or it stopped the lead
    UNIQUE (lead_id, kind, content_id)
);

-- Proven silence: everything of this stream up to read_up_to is stored and digested. Only polls move it.
CREATE TABLE watermark (
    account_id   bigint NOT NULL REFERENCES account,
    stream       text NOT NULL,
    read_up_to   timestamptz,
    cursor       text,
    fence        bigint NOT NULL DEFAULT 0,          -- compare-and-set: one poller at a time moves it
    polled_at    timestamptz,
    failed       text,
    retry_at     timestamptz,
    PRIMARY KEY (account_id, stream)
);
-- Relationship edges need a look-up of that very person after the deadline.
CREATE TABLE relationship (
    account_id  bigint NOT NULL REFERENCES account,
    identity_id bigint NOT NULL REFERENCES identity,
    follows_us  boolean,
    we_follow   boolean,
    checked_at  timestamptz,                         -- start of the look-up
    wanted_at   timestamptz,
    PRIMARY KEY (account_id, identity_id)
);
CREATE INDEX relationship_wanted ON relationship (account_id, wanted_at)
    WHERE wanted_at IS NOT NULL AND (checked_at IS NULL OR checked_at < wanted_at);

-- --- being told --------------------------------------------------------------------------------------------
-- What needs somebody: one row per alert and what it is about, for as long as it lasts and after.
CREATE TABLE alert (
    kind        text NOT NULL,
    subject     text NOT NULL,                       -- an account's or app's name; '' where it is about the whole instance
    since       timestamptz NOT NULL,
    detail      text NOT NULL,                       -- a sentence, as it was when somebody was told last
    told_at     timestamptz NOT NULL,
    clear_since timestamptz,                         -- seen to be over, but not for long enough to say so
    ended_at    timestamptz,
    times       integer NOT NULL DEFAULT 1 CHECK (times > 0),
    PRIMARY KEY (kind, subject),
    CHECK (ended_at IS NULL OR clear_since IS NOT NULL)
);
-- What our own people are to be told: written with what it tells of, delivered from here, so that a URL that is down loses nothing.
CREATE TABLE notice (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('alert', 'reply')),
    key        text NOT NULL UNIQUE,                 -- what it tells of is told once
    payload    jsonb NOT NULL,                       -- ids and words, never a handle or a body
    state      text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    -- the next attempt; the notices of a kind go in their order, so those behind the first wait for it
    due_at     timestamptz,
    attempts   integer NOT NULL DEFAULT 0,
    reason     text,                                 -- why the last attempt failed
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CHECK ((state = 'waiting') = (settled_at IS NULL)),
    CHECK (state <> 'given_up' OR reason IS NOT NULL)
);
CREATE INDEX notice_waiting ON notice (kind, id) WHERE state = 'waiting';
CREATE INDEX notice_settled ON notice (settled_at) WHERE state <> 'waiting';
-- Pushes whose signature was not ours: counted, nothing else of them is kept.
CREATE TABLE refused_push (
    app_id  bigint PRIMARY KEY REFERENCES app,
    count   bigint NOT NULL CHECK (count > 0),
    last_at timestamptz NOT NULL
);

-- --- the log -----------------------------------------------------------------------------------------------
CREATE SEQUENCE event_id;
CREATE TABLE event (
    id           bigint NOT NULL DEFAULT nextval('event_id'),
    at           timestamptz NOT NULL,
    kind         text NOT NULL,
    lead_id      bigint,
    lead_seq     integer,                            -- from the lead's lock: no gaps per lead
    person_id    bigint,
    sequence_id  bigint,
    account_id   bigint,
    execution_id bigint,
    actor        text NOT NULL,                      -- engine, or who
    payload      jsonb NOT NULL DEFAULT '{}',        -- ids and words only, never a body or a handle
    tx           xid8 NOT NULL DEFAULT pg_current_xact_id(), -- tails read below pg_snapshot_xmin
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE INDEX event_lead ON event (lead_id, lead_seq);
CREATE INDEX event_person ON event (person_id, id);
CREATE INDEX event_kind ON event (kind, at);
CREATE INDEX event_tx ON event (tx);                 -- followers and seals read the log in the order (tx, id)
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- A dump that is restored keeps each event's tx, while the new cluster counts from its own beginning. So tx are compared within a
-- generation only: what lies below the newest generation's first id is of an older cluster, and over.
CREATE TABLE event_generation (
    id             integer PRIMARY KEY CHECK (id > 0),
    first_event_id bigint NOT NULL CHECK (first_event_id > 0),
    -- whoever wrote when this generation began had a lower tx: once the oldest open one is not lower, nothing older can appear any more
    horizon        xid8 NOT NULL,
    at             timestamptz,                      -- the first one began with the database
    CHECK ((id = 1) = (at IS NULL))
);
INSERT INTO event_generation (id, first_event_id, horizon) VALUES (1, 1, '0');

-- The events of a range of tx, in the order (tx, id), under one Merkle root; each seal is chained to the one before.
CREATE TABLE seal (
    id         bigint PRIMARY KEY CHECK (id > 0),    -- 1, 2, 3 ... without gaps
    generation integer NOT NULL REFERENCES event_generation,
    from_tx    xid8 NOT NULL,
    to_tx      xid8 NOT NULL,                        -- below it
    events     integer NOT NULL CHECK (events > 0),
    root       bytea NOT NULL CHECK (length(root) = 32),
    previous   bytea NOT NULL CHECK (length(previous) = 32),
    head       bytea NOT NULL CHECK (length(head) = 32), -- over all of the above
    leaves     bytea NOT NULL,                       -- what the root is made of, 60 bytes an event: says which event was changed
    at         timestamptz NOT NULL,
    CHECK (from_tx < to_tx),
    CHECK (length(leaves) = 60 * events)
);
ALTER TABLE seal ALTER COLUMN leaves SET STORAGE EXTERNAL; -- digests do not compress

-- A month that has left the database as a file. The log itself tells of it too (EventsExported), under a seal.
CREATE TABLE event_export (
    month      date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    events     bigint NOT NULL CHECK (events >= 0),
    sha256     text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'), -- of the file
    first_seal bigint REFERENCES seal,               -- the seals that its events are under
    last_seal  bigint REFERENCES seal,
    at         timestamptz NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_default_no_truncate BEFORE TRUNCATE ON event_default EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_generation_append_only BEFORE UPDATE OR DELETE ON event_generation FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_generation_no_truncate BEFORE TRUNCATE ON event_generation EXECUTE FUNCTION refuse_change();
CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE ON seal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER seal_no_truncate BEFORE TRUNCATE ON seal EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_export_append_only BEFORE UPDATE OR DELETE ON event_export FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_export_no_truncate BEFORE TRUNCATE ON event_export EXECUTE FUNCTION refuse_change();
CREATE TRIGGER person_event_no_truncate BEFORE TRUNCATE ON person_event EXECUTE FUNCTION refuse_change();
-- A person's own history only grows, but what humans said in it is forgotten with the person.
CREATE FUNCTION refuse_all_but_forgetting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.detail = '{}' AND to_jsonb(NEW) - 'detail' = to_jsonb(OLD) - 'detail' THEN RETURN NEW; END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER person_event_append_only BEFORE UPDATE OR DELETE ON person_event FOR EACH ROW EXECUTE FUNCTION refuse_all_but_forgetting();
CREATE TRIGGER sequence_version_immutable BEFORE UPDATE OR DELETE ON sequence_version FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sequence_trigger_immutable BEFORE UPDATE OR DELETE ON sequence_trigger FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER message_template_immutable BEFORE UPDATE OR DELETE ON message_template FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Makes the month's partition that holds the instant, if it is missing. True: it was made now.
-- It runs as the log's owner, so that a role which may only add to the log has its months, too.
CREATE FUNCTION make_event_partition(p_at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', p_at AT TIME ZONE 'UTC');
    name text := 'event_' || to_char(first, 'YYYY_MM');
BEGIN
    IF to_regclass(name) IS NOT NULL THEN RETURN false; END IF;
    -- A month that began while nobody made partitions stays where it was caught.
    IF EXISTS (SELECT 1 FROM event_default d WHERE d.at >= first::timestamp AT TIME ZONE 'UTC'
                  AND d.at < (first + interval '1 month')::timestamp AT TIME ZONE 'UTC') THEN RETURN false; END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)', name,
                   first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse_change()', name || '_no_truncate', name);
    RETURN true;
END $$;

-- Where an answer to the lead would be found: the accounts that have contacted them; before any has, those they are bound to.
CREATE FUNCTION listening_accounts(p_lead bigint) RETURNS TABLE (account_id bigint) LANGUAGE sql STABLE AS $$
    SELECT e.account_id FROM execution e WHERE e.lead_id = p_lead AND e.effect_by IS NOT NULL
    UNION
    SELECT b.account_id FROM lead_binding b
     WHERE b.lead_id = p_lead
       AND NOT EXISTS (SELECT 1 FROM execution e WHERE e.lead_id = p_lead AND e.effect_by IS NOT NULL)
$$;

-- Messages that may be this lead's person's, and nobody can tell: they came from an id that nobody here is known by, without
-- a handle (an encrypted message, a sender that the provider does not describe any more), to an account where an answer would
-- be found, since the lead exists, while the person has a handle whose id was never learnt. `handle`, `status`: that handle.
-- Every contact needs the id, so the handle that a lead was contacted by is never among them; another one of the person may be.
CREATE FUNCTION unnamed_messages(p_lead bigint)
RETURNS TABLE (account_id bigint, occurred_at timestamptz, handle bigint, status text) LANGUAGE sql STABLE AS $$
    SELECT m.account_id, m.occurred_at, i.id, i.status
      FROM lead l
      JOIN identity i ON i.person_id = l.person_id AND i.kind = 'twitter_handle'
      JOIN inbound m ON m.account_id IN (SELECT c.account_id FROM listening_accounts(p_lead) c) AND m.occurred_at >= l.enrolled_at
     WHERE l.id = p_lead
       AND m.state IN ('stored', 'unmatched') AND m.kind = 'message_in' AND m.peer_kind = 'twitter_id' AND m.peer_handle = ''
       AND NOT EXISTS (SELECT 1 FROM identity_link k WHERE k.a = i.id AND k.source = 'resolved')
       AND NOT EXISTS (SELECT 1 FROM identity_link k WHERE k.b = i.id AND k.source = 'resolved')
       AND NOT EXISTS (SELECT 1 FROM identity y WHERE y.kind = m.peer_kind AND y.value = m.peer)
$$;

-- How far the lead's silence is proven: every inbox where an answer would be found is read so far, and nothing in it is theirs,
-- or may be, without our having understood it.
CREATE FUNCTION inbox_read_up_to(p_lead bigint) RETURNS TABLE (at timestamptz) LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN bool_and(w.read_up_to IS NOT NULL)
                THEN least(min(w.read_up_to), (SELECT min(u.occurred_at) - interval '1 microsecond' FROM unnamed_messages(p_lead) u),
                           -- read long ago from a stranger, who has turned out to be this person just now
                           (SELECT min(m.occurred_at) - interval '1 microsecond'
                              FROM lead l JOIN identity i ON i.person_id = l.person_id
                              JOIN inbound m ON m.peer_kind = i.kind AND m.peer = i.value
                             WHERE l.id = p_lead AND m.state = 'stored' AND m.kind = 'message_in')) END
      FROM listening_accounts(p_lead) c
      LEFT JOIN LATERAL (SELECT x.read_up_to FROM watermark x WHERE x.account_id = c.account_id AND x.stream = 'inbox' OFFSET 0) w ON true
$$;

-- --- T1's locks --------------------------------------------------------------------------------------------
-- Statement one is the shared advisory lock `sends` (key 1000); then rows in the one order of this house, kind by kind and
-- within a kind by id, for all that are asked for. Nothing is judged here. Returns the database's time after the last lock,
-- the rows as they stand under it, and the fence that a claim would have; `moved`: the lead's person changed meanwhile,
-- start again.
-- p_scopes: names of the scopes beyond the account whose caps T1 will count. The apps' rows are locked where "app" is among
-- them; a sequence and the instance are locked by name, last of all, because others write their rows all the time.
-- OFFSET 0 keeps each look-up what it is, one row by its id: joined with an array of unknown length, whole tables would be read.
CREATE FUNCTION lock_sends(p_executions bigint[], p_scopes text[])
RETURNS TABLE (database_now timestamptz, person_id bigint, moved boolean, next_fence bigint, the_execution execution, the_lead lead,
               person_paused boolean, suppressed boolean, draining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_now timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1000);
    SELECT array_agg(e.id) AS ids, array_agg(l.person_id) AS persons, array_agg(l.id) AS leads, array_agg(e.account_id) AS accounts,
           array_agg(e.app_id) AS apps INTO r
      FROM unnest(p_executions) q (id) CROSS JOIN LATERAL (SELECT * FROM execution x WHERE x.id = q.id OFFSET 0) e
     CROSS JOIN LATERAL (SELECT * FROM lead x WHERE x.id = e.lead_id OFFSET 0) l;
    IF r.ids IS NULL THEN RETURN; END IF;
    PERFORM 1 FROM person p WHERE p.id = ANY (r.persons) ORDER BY p.id FOR NO KEY UPDATE;
    IF 'app' = ANY (p_scopes) THEN
        PERFORM 1 FROM app a WHERE a.id = ANY (r.apps) ORDER BY a.id FOR NO KEY UPDATE;
    END IF;
    PERFORM 1 FROM account a WHERE a.id = ANY (r.accounts) ORDER BY a.id FOR NO KEY UPDATE;
    PERFORM 1 FROM lead l WHERE l.id = ANY (r.leads) ORDER BY l.id FOR NO KEY UPDATE;
    PERFORM 1 FROM execution e WHERE e.id = ANY (r.ids) ORDER BY e.id FOR NO KEY UPDATE;
    PERFORM pg_advisory_xact_lock(1003, s.h)
       FROM (SELECT DISTINCT hashtext(n) AS h FROM unnest(p_scopes) n WHERE n <> 'app' ORDER BY h) s;
    v_now := clock_timestamp();
    RETURN QUERY SELECT v_now, q.person, x.l_person <> q.person, nextval('fence'), x.e, x.l, x.paused, x.stopped, x.drains
                   FROM unnest(r.ids, r.persons) q (id, person) CROSS JOIN LATERAL (
                        SELECT e, l, l.person_id AS l_person, p.paused_at IS NOT NULL AS paused, p.suppressed_at IS NOT NULL AS stopped,
                               p.suppressed_at IS NOT NULL AND p.suppression_effective_at IS NULL AS drains
                          FROM execution e JOIN lead l ON l.id = e.lead_id JOIN person p ON p.id = l.person_id
                         WHERE e.id = q.id OFFSET 0) x;
END $$;

-- T2's locks: what settles an execution touches neither app nor account, so sends of one account do not queue up behind
-- its settlements. Same order, same meaning of the columns.
CREATE FUNCTION lock_settlements(p_executions bigint[])
RETURNS TABLE (database_now timestamptz, person_id bigint, moved boolean, the_execution execution, the_lead lead, person_paused boolean,
               suppressed boolean, draining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_now timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1000);
    SELECT array_agg(e.id) AS ids, array_agg(l.person_id) AS persons, array_agg(l.id) AS leads INTO r
      FROM unnest(p_executions) q (id) CROSS JOIN LATERAL (SELECT * FROM execution x WHERE x.id = q.id OFFSET 0) e
     CROSS JOIN LATERAL (SELECT * FROM lead x WHERE x.id = e.lead_id OFFSET 0) l;
    IF r.ids IS NULL THEN RETURN; END IF;
    PERFORM 1 FROM person p WHERE p.id = ANY (r.persons) ORDER BY p.id FOR NO KEY UPDATE;
    PERFORM 1 FROM lead l WHERE l.id = ANY (r.leads) ORDER BY l.id FOR NO KEY UPDATE;
    PERFORM 1 FROM execution e WHERE e.id = ANY (r.ids) ORDER BY e.id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    RETURN QUERY SELECT v_now, q.person, x.l_person <> q.person, x.e, x.l, x.paused, x.stopped, x.drains
                   FROM unnest(r.ids, r.persons) q (id, person) CROSS JOIN LATERAL (
                        SELECT e, l, l.person_id AS l_person, p.paused_at IS NOT NULL AS paused, p.suppressed_at IS NOT NULL AS stopped,
                               p.suppressed_at IS NOT NULL AND p.suppression_effective_at IS NULL AS drains
                          FROM execution e JOIN lead l ON l.id = e.lead_id JOIN person p ON p.id = l.person_id
                         WHERE e.id = q.id OFFSET 0) x;
END $$;

-- The locks of everything that moves leads without sending: persons, then leads. Same rules as lock_sends. A lead's one open
-- execution is read along: nobody settles it without the lead's row.
CREATE FUNCTION lock_leads(p_leads bigint[])
RETURNS TABLE (database_now timestamptz, person_id bigint, moved boolean, the_lead lead, open_execution execution, person_paused boolean,
               suppressed boolean, draining boolean)
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    v_now timestamptz;
BEGIN
    SELECT array_agg(l.id) AS ids, array_agg(l.person_id) AS persons INTO r
      FROM unnest(p_leads) q (id) CROSS JOIN LATERAL (SELECT * FROM lead x WHERE x.id = q.id OFFSET 0) l;
    IF r.ids IS NULL THEN RETURN; END IF;
    PERFORM 1 FROM person p WHERE p.id = ANY (r.persons) ORDER BY p.id FOR NO KEY UPDATE;
    PERFORM 1 FROM lead l WHERE l.id = ANY (r.ids) ORDER BY l.id FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    RETURN QUERY SELECT v_now, q.person, x.l_person <> q.person, x.l,
                        (SELECT e FROM execution e WHERE e.lead_id = q.id AND e.state IN ('calling', 'in_doubt', 'held')),
                        x.paused, x.stopped, x.drains
                   FROM unnest(r.ids, r.persons) q (id, person) CROSS JOIN LATERAL (
                        SELECT l, l.person_id AS l_person, p.paused_at IS NOT NULL AS paused, p.suppressed_at IS NOT NULL AS stopped,
                               p.suppressed_at IS NOT NULL AND p.suppression_effective_at IS NULL AS drains
                          FROM lead l JOIN person p ON p.id = l.person_id WHERE l.id = q.id OFFSET 0) x;
END $$;
