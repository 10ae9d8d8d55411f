-- One row per partition of the lake, filled from the manifests, with the bounds of timestamps near its day, µs UTC.
create table partitions (
    event_date date,
    table_name varchar,
    kind varchar,
    row_count bigint,
    exported_rows bigint,  -- those of forgotten people included
    is_changed boolean,
    earliest_near_micros bigint,
    latest_near_micros bigint
);
