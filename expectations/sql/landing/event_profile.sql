-- One row per changed day and event name, filled batch by batch: what the one scan over the lake counts.
create table event_profile (
    event_date date,
    event_name varchar,
    is_blank boolean,
    row_count bigint,
    timestamp_missing bigint,
    date_missing bigint,
    date_other bigint,
    timestamp_outside bigint,
    unidentified bigint,
    to_quarantine bigint,
    duplicates bigint
);
