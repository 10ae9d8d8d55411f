{{ config(materialized='view') }}

-- Whose session it is: the user who was logged in during it, else the one the device belongs to, else the device alone.
select
    sessions.*,
    {{ user_key('coalesce(sessions.user_id, devices.user_id)', 'sessions.user_pseudo_id') }} as user_key
from {{ ref('int_sessions') }} as sessions
left join {{ ref('int_device_users') }} as devices on sessions.user_pseudo_id = devices.user_pseudo_id
