{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_users') }}
with touches as (
    select
        *,
        row_number() over in_order as touch_number,
        lag(device_category) over in_order as previous_device_category,
        lag(default_channel_group) over in_order as previous_channel_group,
        lag(custom_channel_group) over in_order as previous_custom_channel_group
    from {{ ref('int_purchase_touches') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
    window in_order as (partition by purchase_id order by is_purchase_session, session_number)
)

select
    purchase_id,
    user_key,
    purchased_at,
    purchase_date,
    revenue_usd,
    count(session_id) as sessions,
    count(distinct user_pseudo_id) as devices,
    count(distinct user_pseudo_id) > 1 as is_cross_device,
    min(session_started_at) as journey_started_at,
    {{ seconds_between('min(session_started_at)', 'purchased_at') }} / 86400 as journey_days,
    {{ earliest('device_category', 'touch_number') }} as first_device_category,
    {{ max_where('device_category', 'is_purchase_session') }}
        as purchase_device_category,
    {{ joined_in_order(
        'device_category', ' > ', 'touch_number', 'device_category is distinct from previous_device_category'
    ) }} as device_path,
    {{ joined_in_order(
        'default_channel_group', ' > ', 'touch_number',
        'default_channel_group is distinct from previous_channel_group'
    ) }} as channel_path,
    {{ joined_in_order(
        'custom_channel_group', ' > ', 'touch_number',
        'custom_channel_group is distinct from previous_custom_channel_group'
    ) }} as custom_channel_path
from touches
group by purchase_id, user_key, purchased_at, purchase_date, revenue_usd
