-- One row per text that stands where an order's id should: what tag managers send when a variable is empty.
create table placeholder_ids as
select
    placeholder_transaction_id as subject,
    count(*) as events
from warehouse.staging.stg_ga4__events_parsed
where placeholder_transaction_id is not null and exclusion_reason is null
group by placeholder_transaction_id;
