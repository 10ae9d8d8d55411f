-- One row per lake file of the changed days, filled from the manifests; `label` names it in a message.
create table lake_files (
    filename varchar,
    event_date date,
    label varchar
);
