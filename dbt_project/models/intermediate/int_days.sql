-- Every date that was exported, and whether GA4 can still rewrite it.
select
    event_date as kpi_date,
    kind,
    not (
        kind = 'daily'
        and cast('{{ var("as_of") }}' as timestamp)
        >= {{ add_hours(property_midnight('event_date + 1'), var('complete_after_hours')) }}
    ) as is_provisional
from {{ source('ops', 'ingest_ledger') }}
