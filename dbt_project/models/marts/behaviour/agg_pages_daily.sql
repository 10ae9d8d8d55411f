{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with events as (
    select *
    from {{ session_events() }} as events
),

views as (
    select
        session_date,
        page_path,
        count(*) as page_views,
        count(distinct session_no) as sessions
    from events
    where event_name in ('page_view', 'screen_view') and page_path is not null
    group by session_date, page_path
),

engagement as (
    select
        session_date,
        engagement_page_path as page_path,
        {{ msec_to_seconds('sum(engagement_msec)') }} as engagement_seconds
    from events
    where engagement_page_path is not null and engagement_msec is not null
    group by session_date, engagement_page_path
)

select
    coalesce(views.session_date, engagement.session_date) as session_date,
    coalesce(views.page_path, engagement.page_path) as page_path,
    coalesce(views.page_views, 0) as page_views,
    coalesce(views.sessions, 0) as sessions,
    engagement.engagement_seconds
from views
full outer join engagement
    on
        views.session_date = engagement.session_date
        and views.page_path = engagement.page_path
