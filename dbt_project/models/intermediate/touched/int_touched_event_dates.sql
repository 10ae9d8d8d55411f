-- A rewritten day can also move the sessions of events on other days, where their ids do not tell which those are.
-- depends_on: {{ ref('int_inferred_sessions') }}
select event_date from {{ source('ops', 'touched_dates') }}
{% if not is_full_build() %}
    union
    select event_date
    from {{ changed_rows(
        ref('int_inferred_sessions'), 'ops.previous_inferred_sessions', is_touched_inferred_user()
    ) }} as moved
{% endif %}
