-- The dates whose daily figures this build changes: their events, a session or purchase of theirs, or their state.
-- depends_on: {{ ref('int_session_properties') }}
{% if is_full_build() %}
    select kpi_date
    from {{ ref('int_days') }}
    where false
{% else %}
    select event_date as kpi_date from {{ ref('int_touched_event_dates') }}
    union distinct
    select session_date as kpi_date
    from {{ changed_rows(ref('int_session_facts'), 'ops.previous_sessions', is_touched_user()) }} as moved_sessions
    {% if 'int_session_properties' not in rebuilt_tables() %}
        union distinct
        select session_date as kpi_date
        from {{ changed_rows(
            ref('int_session_properties'), 'ops.previous_session_properties', is_touched_session_date()
        ) }} as moved_properties
    {% endif %}
    union distinct
    select purchase_date as kpi_date from {{ ref('int_touched_purchases') }}
    union distinct
    -- an earlier order of the person, wherever it comes from, makes the first one a repeated one
    select purchase_date as kpi_date
    from {{ changed_rows(
        ref('int_user_purchases'), 'ops.previous_user_purchases', is_touched_user()
    ) }} as moved_orders
    union distinct
    select kpi_date
    from {{ changed_rows(ref('int_days'), 'ops.previous_days') }} as moved_days
{% endif %}
