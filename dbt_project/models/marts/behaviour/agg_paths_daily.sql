{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with page_views as (
    select
        session_no,
        session_date,
        page_path,
        lag(page_path) over (partition by session_no order by event_number) as previous_page_path,
        lead(page_path) over (partition by session_no order by event_number) as next_page_path
    from {{ session_events() }} as events
    where
        event_name in ('page_view', 'screen_view')
        and page_path is not null
),

steps as (
    select
        session_date,
        session_no,
        coalesce(previous_page_path, '(entrance)') as from_page,
        page_path as to_page
    from page_views
    union all
    select
        session_date,
        session_no,
        page_path as from_page,
        '(exit)' as to_page
    from page_views
    where next_page_path is null
)

select
    session_date,
    from_page,
    to_page,
    count(*) as transitions,
    count(distinct session_no) as sessions
from steps
group by session_date, from_page, to_page
