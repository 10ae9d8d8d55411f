-- One row per date and column that differs from the known schema, filled from the manifests of all days.
create table seen_drift (
    event_date date,
    change varchar,  -- unknown, missing or retyped
    column_name varchar,
    exported_as varchar
);
