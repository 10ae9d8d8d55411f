{{ config(materialized='view') }}

{{ ordered_events(ref('stg_ga4__events_parsed'), ref('int_event_order')) }}
