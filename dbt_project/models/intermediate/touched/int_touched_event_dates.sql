-- A rewritten day can also move the sessions of events on other days, where their ids do not tell which those are.
-- depends_on: {{ ref('int_inferred_sessions') }}
{% if is_full_build() %}
    select event_date from {{ source('ops', 'ingest_ledger') }}
{% else %}
    select event_date from {{ source('ops', 'touched_dates') }}
    union distinct
    select event_date
    from {{ changed_rows(
        ref('int_inferred_sessions'), 'ops.previous_inferred_sessions', is_touched_inferred_user()
    ) }} as moved
{% endif %}
