{{ config(materialized='view') }}

select
    event_date,
    event_timestamp,
    event_name,
    event_params,
    event_value_in_usd,
    user_id,
    user_pseudo_id,
    privacy_info,
    device,
    app_info,
    geo,
    stream_id,
    platform,
    ecommerce,
    items,
    collected_traffic_source,
    batch_event_index,
    batch_page_id,
    batch_ordering_id,
    session_traffic_source_last_click,
    {{ file_name('filename') }} as lake_file,
    file_row_number as lake_row,
    {{ regex_extract('filename', 'event_date=([0-9-]+)') }} as lake_day,
    {{ lake_row_key(regex_extract('filename', 'event_date=([0-9-]+)'), 'filename', 'file_row_number') }} as event_key
from {{ source('ga4', 'events') }}
